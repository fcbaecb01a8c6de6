package location

import (
	"net/http"
	"strconv"
	"time"
)

func refuse(status int, reason string) Answer { return Answer{Status: status, Reason: reason} }

// ok is the 200 to a REGISTER: every binding with what is left of its time (RFC
// 3261 section 10.3 step 8).
func ok(list []Binding, now time.Time, path string, outbound bool) Answer {
	b := make([]byte, 0, 64+160*len(list))
	for i := range list {
		b = list[i].appendTo(b, now)
	}
	if path != "" {
		b = append(b, "Path: "...)
		b = append(b, path...)
		b = append(b, "\r\n"...)
	}
	if outbound {
		b = append(b, "Require: outbound\r\n"...)
	}
	b = append(b, "Supported: path, outbound\r\nDate: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat) // the SIP-date of RFC 3261 section 20.17
	b = append(b, "\r\n"...)
	return Answer{Status: 200, Reason: "OK", Lines: b}
}

// appendTo writes the Contact line of a binding.
func (b *Binding) appendTo(out []byte, now time.Time) []byte {
	out = append(out, "Contact: <"...)
	out = append(out, b.Contact...)
	out = append(out, ">;expires="...)
	left := (b.Expires.Sub(now) + time.Second - 1) / time.Second
	out = strconv.AppendInt(out, int64(left), 10)
	if b.Q != 1000 {
		out = append(out, ";q="...)
		out = strconv.AppendFloat(out, float64(b.Q)/1000, 'f', -1, 64)
	}
	if b.Instance != "" {
		out = append(out, `;+sip.instance="`...)
		out = append(out, b.Instance...)
		out = append(out, '"')
	}
	if b.RegID > 0 {
		out = append(out, ";reg-id="...)
		out = strconv.AppendInt(out, int64(b.RegID), 10)
	}
	return append(out, "\r\n"...)
}
