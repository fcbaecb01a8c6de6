package wire

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it, and it protects nothing
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// webGUID is what RFC 6455 section 1.3 puts behind the client's key.
const webGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// A refusal is the HTTP answer to a client that gets no WebSocket.
type refusal struct {
	status int
	reason Reason
	text   string
}

// upgrade makes a connection a WebSocket with the subprotocol sip (RFC 6455
// section 4.2, RFC 7118 section 4). early is what the client sent behind its
// request.
func (c *conn) upgrade(l *listener) (early []byte, ok bool) {
	if !c.readBy(time.Now().Add(c.wire.limits.Handshake)) {
		return nil, false
	}
	in := bufio.NewReaderSize(io.LimitReader(c.net, int64(c.wire.limits.Header)), 1024)
	r, err := http.ReadRequest(in)
	if err != nil {
		c.refuse(BadUpgrade, fmt.Errorf("opening handshake: %w", err))
		return nil, false
	}
	if no := l.refuses(r); no != nil {
		c.answer(http.StatusText(no.status), no)
		c.refuse(no.reason, fmt.Errorf("opening handshake: %s", no.text))
		return nil, false
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + webGUID)) //nolint:gosec // as above
	if !c.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n") {
		return nil, false
	}
	early, _ = in.Peek(in.Buffered()) // it is there
	return slices.Clone(early), true
}

// answer is for whoever asked, a browser that was pointed here perhaps.
func (c *conn) answer(phrase string, no *refusal) {
	more := ""
	if no.status == http.StatusUpgradeRequired {
		more = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	}
	c.say(fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", no.status, phrase, more, len(no.text)+1, no.text))
}

// say writes before there is a writer.
func (c *conn) say(text string) bool {
	if !c.writeBy(time.Now().Add(c.wire.limits.Write)) {
		return false
	}
	if _, err := io.WriteString(c.net, text); err != nil {
		c.close(err)
		return false
	}
	return true
}

// refuses tells why a client gets no WebSocket, nil if it gets one.
func (l *listener) refuses(r *http.Request) *refusal {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	switch {
	case r.Method != http.MethodGet:
		return &refusal{http.StatusMethodNotAllowed, BadUpgrade, "only GET opens a WebSocket"}
	case l.WebPath != "" && r.URL.Path != l.WebPath:
		return &refusal{http.StatusNotFound, BadUpgrade, "there is nothing at this path"}
	case !r.ProtoAtLeast(1, 1) || !lists(r, "Connection", "upgrade") || !lists(r, "Upgrade", "websocket"):
		return &refusal{http.StatusUpgradeRequired, BadUpgrade, "this is SIP over WebSocket (RFC 7118) and no web page"}
	case r.Header.Get("Sec-Websocket-Version") != "13":
		return &refusal{http.StatusUpgradeRequired, BadUpgrade, "only version 13 of WebSocket is spoken here"}
	case err != nil || len(key) != 16 || len(r.Header.Values("Sec-Websocket-Key")) != 1:
		return &refusal{http.StatusBadRequest, BadUpgrade, "the key is not 16 octets in base64"}
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return &refusal{http.StatusBadRequest, BadUpgrade, "an opening handshake has no body"}
	case !lists(r, "Sec-Websocket-Protocol", "sip"):
		return &refusal{http.StatusBadRequest, BadUpgrade, "the subprotocol sip was not asked for"}
	case !l.welcomes(r):
		return &refusal{http.StatusForbidden, ForeignOrigin, "pages of this origin may not call here"}
	}
	return nil
}

// lists tells whether a header of comma-separated tokens holds one.
func lists(r *http.Request, name, want string) bool {
	for _, line := range r.Header.Values(name) {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), want) {
				return true
			}
		}
	}
	return false
}

// welcomes checks whose page it is that calls (RFC 6455 section 10.2): one that
// the operator names, or one of the same host. What is no browser sends no Origin.
func (l *listener) welcomes(r *http.Request) bool {
	all := r.Header.Values("Origin")
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
	return err == nil && u.Host != "" && strings.EqualFold(u.Hostname(), hostname(r.Host))
}

// hostname is a Host header without its port.
func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }
