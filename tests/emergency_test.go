package tests

import (
	"crypto/md5"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A caller is a phone of bare sockets at an address of its own.
type caller struct {
	t    *testing.T
	conn net.Conn
	via  string
	n    int
}

// dialFrom opens one; every source of loopback is somebody else.
func dialFrom(t *testing.T, network, source, server string) *caller {
	t.Helper()
	local := net.Addr(&net.UDPAddr{IP: net.ParseIP(source)})
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := (&net.Dialer{LocalAddr: local}).Dial(network, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &caller{t: t, conn: conn, via: strings.ToUpper(network) + " " + conn.LocalAddr().String()}
}

// say sends a request to a number with more header lines, and returns its
// Call-ID. It does not wait for an answer.
func (c *caller) say(method, to, more string) string {
	c.t.Helper()
	c.n++
	id := fmt.Sprintf("%s-%d-%s", method, c.n, strings.NewReplacer(".", "-", ":", "-").Replace(c.conn.LocalAddr().String()))
	_, err := fmt.Fprintf(c.conn, "%[1]s sip:%[2]s@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%[3]s;branch=z9hG4bK%[4]s;rport\r\nFrom: <sip:mallory@127.0.0.1>;tag=t%[5]d\r\n"+
		"To: <sip:%[2]s@127.0.0.1>\r\nCall-ID: %[4]s\r\nCSeq: 1 %[1]s\r\nContact: <sip:mallory@%[6]s>\r\nMax-Forwards: 70\r\n%[7]sContent-Length: 0\r\n\r\n",
		method, to, c.via, id, c.n, c.conn.LocalAddr(), more)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// hear is the next message that comes, "" if none does soon.
func (c *caller) hear() string {
	c.t.Helper()
	buf := make([]byte, 8192)
	_ = c.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	n, _ := c.conn.Read(buf) // what was read says enough
	return string(buf[:n])
}

var nonceOf = regexp.MustCompile(`nonce="([^"]+)"`)

// login answers the challenge to a request of its kind with a password.
func (c *caller) login(method, to, user, password string) {
	c.t.Helper()
	c.say(method, to, "")
	nonce := nonceOf.FindStringSubmatch(c.hear())
	if nonce == nil {
		return // nobody asks it for a password any more
	}
	h := func(parts ...string) string { return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":")))) }
	uri := "sip:" + to + "@127.0.0.1"
	response := h(h(user, "ringfence", password), nonce[1], "00000001", "c", "auth", h(method, uri))
	name := "Proxy-Authorization"
	if method == "REGISTER" {
		name = "Authorization"
	}
	c.say(method, to, fmt.Sprintf("%s: Digest username=\"%s\", realm=\"ringfence\", nonce=\"%s\", uri=\"%s\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c\", response=\"%s\"\r\n", name, user, nonce[1], uri, response))
	c.hear()
}

// TestEmergencyUnderEveryRule brings a source into the state that a rule of the
// default pack refuses, sees the rule at work, and calls 112 from there.
func TestEmergencyUnderEveryRule(t *testing.T) {
	help, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer help.Close()
	pbx := freePort(t)
	server := addr("127.0.0.1", freePort(t))
	d := start(t, "", t.TempDir(), "--config", writeConfig(t, "version: 1\n"+
		"listen: [{transport: udp, address: \""+server+"\"}, {transport: tcp, address: \""+server+"\"}]\n"+
		"next_hops:\n"+
		"  - {name: pbx, address: \""+addr("127.0.0.1", pbx)+"\", probe: -1s}\n"+
		"  - {name: help, pool: help, address: \""+help.LocalAddr().String()+"\", probe: -1s}\n"+
		"emergency: help\n"+
		"domains: [127.0.0.1]\n"+
		"guards: {auth: {realm: ringfence, algorithms: [MD5]}}\n"+
		"limits: {unknown_per_second: 100000}\n"+
		"screen: {mode: \"off\"}\nmetrics: \"off\"\n"), "--account", "alice:secret-a")
	times := func(n int, f func(i int)) {
		for i := range n {
			f(i)
		}
	}
	for i, c := range []struct {
		rule, network string
		provoke       func(c *caller)
	}{
		{"malformed", "tcp", func(c *caller) { c.say("SUBSCRIBE", "100", "") }}, // without Event
		{"malformed-again", "udp", func(c *caller) { times(12, func(int) { c.say("SUBSCRIBE", "100", "") }) }},
		{"scanner", "udp", func(c *caller) { c.say("OPTIONS", "100", "User-Agent: friendly-scanner\r\n") }},
		{"scanner-proved", "tcp", func(c *caller) { c.say("OPTIONS", "100", "User-Agent: friendly-scanner\r\n") }},
		{"flood", "udp", func(c *caller) { times(450, func(int) { c.say("INFO", "100", "") }) }},
		{"invite-flood", "udp", func(c *caller) { times(65, func(int) { c.say("INVITE", "100", "") }) }},
		{"message-flood", "udp", func(c *caller) { times(65, func(int) { c.say("MESSAGE", "100", "") }) }},
		{"options-flood", "udp", func(c *caller) { times(65, func(int) { c.say("OPTIONS", "100", "") }) }},
		{"extension-scan", "udp", func(c *caller) { times(30, func(i int) { c.say("REGISTER", itoa(100+i), "") }) }},
		{"slow-extension-scan", "tcp", func(c *caller) {
			times(250, func(i int) {
				c.say("REGISTER", itoa(100+i), "")
				if i > 10 { // what is fast is banned by another rule before; a day passes quickly here
					_, _ = d.try("lift", strings.Split(c.conn.LocalAddr().String(), ":")[0])
				}
			})
		}},
		{"password-guessing", "tcp", func(c *caller) { times(8, func(int) { c.login("REGISTER", "alice", "alice", "guess") }) }},
		{"auth-required", "udp", func(c *caller) { c.say("INVITE", "100", "") }},
		{"identity", "tcp", func(c *caller) { c.login("INVITE", "100", "alice", "secret-a") }}, // From is mallory's
	} {
		t.Run(c.rule, func(t *testing.T) {
			source := fmt.Sprintf("127.0.77.%d", i+1)
			who := dialFrom(t, c.network, source, server)
			c.provoke(who)
			eventually(t, "rule "+c.rule+" is enforced", func() bool {
				var hits []struct {
					Rule     string
					Enforced int
				}
				d.table(&hits, "rules", "hits")
				for _, h := range hits {
					if h.Rule == c.rule {
						return h.Enforced > 0
					}
				}
				t.Fatalf("there is no rule %s", c.rule)
				return false
			})
			again := dialFrom(t, "udp", source, server)
			id := again.say("INVITE", "112", "User-Agent: friendly-scanner\r\n")
			buf := make([]byte, 8192)
			for {
				_ = help.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, _, err := help.ReadFrom(buf)
				if err != nil {
					t.Fatalf("112 does not ring for a source that rule %s refuses: %v\n%s", c.rule, err, d.ask("explain", source))
				}
				if strings.Contains(string(buf[:n]), id) {
					break
				}
			}
		})
	}
}
