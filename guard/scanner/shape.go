package scanner

import (
	"strings"

	"ringfence/proxy/index"
)

const cookie = "z9hG4bK" // RFC 3261 section 8.1.1.7

// A shape is what of a request the tools do not think of changing.
type shape struct {
	x                     *index.Message
	branch, tag, call     string // branch without the magic cookie
	via, maxf, from, to   int    // positions of the header lines, -1 if absent
	callID, cseq, contact int
	accept, allow         int
}

func shapeOf(x *index.Message) shape {
	s := shape{
		x: x, branch: x.Text(x.Via.Branch), tag: x.Text(x.From.Tag), call: x.Text(x.CallID),
		via: -1, maxf: -1, from: -1, to: -1, callID: -1, cseq: -1, contact: -1, accept: -1, allow: -1,
	}
	s.branch = strings.TrimPrefix(s.branch, cookie)
	for i, h := range x.Headers() {
		at := (*int)(nil)
		switch h.Name {
		case index.ViaName:
			at = &s.via
		case index.MaxForwardsName:
			at = &s.maxf
		case index.FromName:
			at = &s.from
		case index.ToName:
			at = &s.to
		case index.CallIDName:
			at = &s.callID
		case index.CSeqName:
			at = &s.cseq
		case index.ContactName:
			at = &s.contact
		case index.AllowName:
			at = &s.allow
		case index.Other:
			if strings.EqualFold(x.Text(h.Key), "Accept") {
				at = &s.accept
			}
		}
		if at != nil && *at < 0 {
			*at = i
		}
	}
	return s
}

// sipvicious: svmap, svwar, svcrack and what was made of them. One template
// builds every request: Via, Max-Forwards, To before From, Call-ID, Contact
// before CSeq, Accept without a body; a branch of decimal digits after a dash;
// tags that are the hexadecimal of readable text; addresses at 1.1.1.1.
// A sign may be missing or changed, five points may not.
func (s *shape) sipvicious() bool {
	points := 0
	if digits, dashed := strings.CutPrefix(s.branch, "-"); dashed && between(len(digits), 4, 12) && only(digits, decimal) {
		points += 2
	}
	if s.via == 0 && s.maxf == 1 && s.to == 2 && s.from == 3 && s.callID > s.from && s.contact > s.callID && s.cseq > s.contact {
		points += 3
	}
	if len(s.tag) >= 8 && (only(s.tag, decimal) || readable(s.tag)) {
		points++
	}
	if len(s.call) >= 8 && only(s.call, decimal) {
		points++
	}
	if s.accept > s.cseq && s.x.Body.Empty() {
		points++
	}
	if s.x.Text(s.x.To.URI.Host) == "1.1.1.1" || s.x.Text(s.x.Contact.URI.Host) == "1.1.1.1" {
		points += 2
	}
	return points >= 5
}

// sipcli: To and From before Via, the dialled number as its own display name
// without quotes, a branch of 32 hexadecimal digits after a dash.
func (s *shape) sipcli() bool {
	hash, dashed := strings.CutPrefix(s.branch, "-")
	if !dashed || len(hash) != 32 || !only(hash, hexadecimal) || s.to != 0 || s.from != 1 || s.via != 2 {
		return false
	}
	display := strings.Trim(s.x.Text(s.x.To.Display), " \t")
	return display != "" && display == s.x.Text(s.x.To.URI.User) && s.contact > s.cseq && s.maxf > s.contact
}

// pplsip: a Via that names no address, and a Call-ID of three decimal numbers.
func (s *shape) pplsip() bool {
	if s.x.Text(s.x.Via.Host) != "0.0.0.0" || !only(s.branch, decimal) || !only(s.tag, decimal) || s.tag == "" {
		return false
	}
	parts := 0
	for rest, more := s.call, true; more; parts++ {
		var part string
		if part, rest, more = strings.Cut(rest, "-"); part == "" || !only(part, decimal) {
			return false
		}
	}
	return parts == 3
}

// nmap: the probes of its version detection say nm for every name.
func (s *shape) nmap() bool {
	return s.x.Text(s.x.Via.Host) == "nm" || s.x.Text(s.x.From.URI.User) == "nm" && s.x.Text(s.x.From.URI.Host) == "nm"
}

// smap: it calls from and to a user of its name.
func (s *shape) smap() bool {
	return s.x.Text(s.x.From.URI.User) == "smap" && s.x.Method == index.Options
}

// sipsak: it calls from a user of its name.
func (s *shape) sipsak() bool { return s.x.Text(s.x.From.URI.User) == "sipsak" }

// readable tells whether hexadecimal text spells printable ASCII, which random
// tags of that length practically never do.
func readable(s string) bool {
	if len(s) < 16 || len(s)%2 != 0 {
		return false
	}
	for i := 0; i < len(s); i += 2 {
		if s[i] < '2' || s[i] > '7' || !only(s[i+1:i+2], hexadecimal) || s[i:i+2] == "7f" {
			return false
		}
	}
	return true
}

func between(n, low, high int) bool { return low <= n && n <= high }

func only(s string, class func(byte) bool) bool {
	for i := range len(s) {
		if !class(s[i]) {
			return false
		}
	}
	return true
}

func decimal(c byte) bool { return '0' <= c && c <= '9' }

func hexadecimal(c byte) bool { return decimal(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
