package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// An opening is what a client asks for with the opening handshake of a WebSocket: a
// request of HTTP/1.1 (RFC 6455 section 4.1). It is read strictly, as browsers and
// libraries write it, so that a proxy before us can have seen no other request.
type opening struct {
	method  string
	target  string // path and query
	version string // as in HTTP/1.1
	fields  []field
}

// A field is a header line; its name is as it came.
type field struct{ name, value string }

// The ways in which octets are no request.
var (
	errNotHTTP   = errors.New("what begins is no request of HTTP")
	errWebTarget = errors.New("the target is no path")
	errWebLines  = errors.New("there are more header lines than the limit")
	errWebLine   = errors.New("a header line is none")
)

// readOpening reads a request that ends with an empty line and has at most so many
// header lines. No line may be folded or end without CR (RFC 9112 section 2.2).
func readOpening(head []byte, lines int) (*opening, error) {
	text, ok := bytes.CutSuffix(head, headEnd)
	if !ok {
		return nil, errNotHTTP
	}
	first, rest, more := strings.Cut(string(text), "\r\n")
	parts := strings.Split(first, " ")
	if len(parts) != 3 || !isToken(parts[0]) || !isVersion(parts[2]) {
		return nil, errNotHTTP
	}
	o := &opening{method: parts[0], target: parts[1], version: parts[2]}
	if !strings.HasPrefix(o.target, "/") || strings.ContainsFunc(o.target, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return o, errWebTarget
	}
	for more {
		var line string
		if line, rest, more = strings.Cut(rest, "\r\n"); len(o.fields) == lines {
			return o, errWebLines
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || !isValue(value) {
			return o, errWebLine
		}
		o.fields = append(o.fields, field{name, strings.Trim(value, " \t")})
	}
	return o, nil
}

// isVersion tells whether a text is the version of an HTTP, RFC 9112 section 2.3.
func isVersion(s string) bool {
	return len(s) == 8 && s[:5] == "HTTP/" && isDigit(s[5]) && s[6] == '.' && isDigit(s[7])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isToken tells whether a text is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isValue tells whether a text may be the value of a header, RFC 9110 section 5.5.
func isValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// all are the values of a header, line by line.
func (o *opening) all(name string) []string {
	var out []string
	for _, f := range o.fields {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

// one is the value of a header that must stand there once.
func (o *opening) one(name string) (string, bool) {
	all := o.all(name)
	if len(all) != 1 {
		return "", false
	}
	return all[0], true
}

// lists tells whether a header of comma-separated tokens holds one, and nothing but
// tokens; those of Upgrade may have a version behind a slash.
func (o *opening) lists(name string, is func(token string) bool) (found bool) {
	for _, line := range o.all(name) {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.Trim(token, " \t")
			if token != "" && !isToken(strings.Replace(token, "/", "", 1)) {
				return false
			}
			found = found || is(token)
		}
	}
	return found
}

// bodiless tells whether nothing follows the request but frames.
func (o *opening) bodiless() bool {
	return len(o.all("Transfer-Encoding")) == 0 && !slices.ContainsFunc(o.all("Content-Length"), func(v string) bool { return v != "0" })
}

// A refusal is the HTTP answer to a client that gets no WebSocket.
type refusal struct {
	status int // 0: none is given
	reason Reason
	text   string
}

// unreadable is the refusal for what is no opening handshake at all. Who speaks no
// HTTP gets no answer in it.
func unreadable(err error) *refusal {
	no := &refusal{http.StatusBadRequest, BadUpgrade, err.Error()}
	switch {
	case errors.Is(err, errNotHTTP):
		no.status = 0
	case errors.Is(err, errWebLines), errors.Is(err, errHeaderLong):
		no.status = http.StatusRequestHeaderFieldsTooLarge
	}
	return no
}

// refuses tells why a client gets no WebSocket, nil if it gets one.
func (l *listener) refuses(o *opening) *refusal {
	no := func(status int, text string) *refusal { return &refusal{status, BadUpgrade, text} }
	is := func(want string) func(string) bool {
		return func(token string) bool { return strings.EqualFold(token, want) }
	}
	host, hosted := o.one("Host")
	key, keyed := o.one("Sec-WebSocket-Key")
	octets, err := base64.StdEncoding.DecodeString(key)
	version, _ := o.one("Sec-WebSocket-Version")
	path, _, _ := strings.Cut(o.target, "?")
	switch {
	case o.version != "HTTP/1.1":
		return no(http.StatusHTTPVersionNotSupported, "a WebSocket is opened with HTTP/1.1")
	case o.method != http.MethodGet:
		return no(http.StatusMethodNotAllowed, "only GET opens a WebSocket")
	case !hosted || !isHost(host):
		return no(http.StatusBadRequest, "one Host must be named, and only one")
	case !o.bodiless():
		return no(http.StatusBadRequest, "an opening handshake has no body")
	case l.WebPath != "" && path != l.WebPath:
		return no(http.StatusNotFound, "there is nothing at this path")
	case !o.lists("Connection", is("upgrade")) || !o.lists("Upgrade", is("websocket")):
		return no(http.StatusUpgradeRequired, "this is SIP over WebSocket (RFC 7118) and no web page")
	case version != "13":
		return no(http.StatusUpgradeRequired, "only version 13 of WebSocket is spoken here")
	case !keyed || err != nil || len(octets) != 16:
		return no(http.StatusBadRequest, "the key is not 16 octets in base64")
	case !o.lists("Sec-WebSocket-Protocol", func(token string) bool { return token == "sip" }):
		return no(http.StatusBadRequest, "the subprotocol sip was not asked for")
	case !l.welcomes(o, host):
		return &refusal{http.StatusForbidden, ForeignOrigin, "pages of this origin may not call here"}
	}
	return nil
}

// welcomes checks whose page it is that calls (RFC 6455 section 10.2): one that
// the operator names, or one of the same host. What is no browser sends no Origin.
func (l *listener) welcomes(o *opening, host string) bool {
	all := o.all("Origin")
	if len(all) == 0 {
		return true
	}
	if len(all) > 1 {
		return false
	}
	if len(l.Origins) > 0 {
		return slices.ContainsFunc(l.Origins, func(o string) bool { return o == "*" || strings.EqualFold(o, all[0]) })
	}
	u, err := url.Parse(all[0])
	return err == nil && u.Host != "" && strings.EqualFold(u.Hostname(), hostname(host))
}

// isHost tells whether the value of a Host header names one.
func isHost(s string) bool {
	u, err := url.Parse("//" + s)
	return err == nil && s != "" && u.Host == s && u.Hostname() != ""
}

// hostname is a Host header without its port.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// String is the answer.
func (r *refusal) String() string {
	more := ""
	switch r.status {
	case http.StatusUpgradeRequired:
		more = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	case http.StatusMethodNotAllowed:
		more = "Allow: GET\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		r.status, http.StatusText(r.status), more, len(r.text)+1, r.text)
}
