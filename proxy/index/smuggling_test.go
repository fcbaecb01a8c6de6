package index

import (
	"bytes"
	"strings"
	"testing"
)

// base is a request on which the rows below work; each replaces one line or
// adds one.
const base = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n" +
	"From: <sip:alice@example.com>;tag=1\r\n" +
	"To: <sip:bob@example.com>\r\n" +
	"Call-ID: c1\r\n" +
	"CSeq: 1 INVITE\r\n" +
	"Max-Forwards: 70\r\n" +
	"Content-Length: 0\r\n\r\n"

// with puts a line in place of the one with the same name, start line
// included, or adds it in front of Content-Length.
func with(line string) string {
	key, _, _ := strings.Cut(line, ":")
	if strings.HasSuffix(line, "SIP/2.0") || strings.HasPrefix(line, "INVITE ") {
		_, rest, _ := strings.Cut(base, "\r\n")
		return line + "\r\n" + rest
	}
	for l := range strings.SplitSeq(base, "\r\n") {
		if strings.HasPrefix(l, key+":") {
			return strings.Replace(base, l+"\r\n", line+"\r\n", 1)
		}
	}
	return plus(line)
}

// plus adds a line.
func plus(line string) string {
	return strings.Replace(base, "Content-Length", line+"\r\nContent-Length", 1)
}

// TestSmuggling holds messages that two readers read differently. Each is
// refused by its own name, or made plain so that only one reading is left.
func TestSmuggling(t *testing.T) {
	rows := []struct {
		what, raw string
		want      Problem
	}{
		// Line ends and control bytes.
		{"bare LF in a header", plus("Subject: a\nX-Evil: 1"), BareLF},
		{"bare CR in a header", plus("Subject: a\rX-Evil: 1"), BareCR},
		{"bare LF in the request line", with("INVITE sip:bob@example.com\nX-Evil:1 SIP/2.0"), BareLF},
		{"bare LF after the version", with("INVITE sip:bob@example.com SIP/2.0\nX-Evil:1"), BareLF},
		{"bare LF in Call-ID", with("Call-ID: c\nX-Evil: 1"), BareLF},
		{"two CR before LF", plus("Subject: a\r\r"), BareCR},
		{"NUL in a value", plus("Subject: a\x00b"), Control},
		{"escaped NUL in quotes", with("To: \"a\\\x00\" <sip:bob@example.com>"), Control},
		{"vertical tab", plus("Subject: a\vb"), Control},
		{"DEL", plus("Subject: a\x7fb"), Control},
		{"ANSI escape", plus("User-Agent: \x1b[2J"), Control},
		{"headers that do not end", "OPTIONS sip:h SIP/2.0\r\nVia: x\r\n", BadVia},
		{"no blank line", strings.TrimSuffix(base, "\r\n"), NoBlankLine},

		// Names.
		{"control byte before the colon", plus("To\x01: <sip:x@example.com>"), Control},
		{"byte outside token before the colon", plus("To\xa0: <sip:x@example.com>"), BadHeaderName},
		{"blank within a name", plus("X Foo: 1"), BadHeaderName},
		{"no name", plus(": 1"), BadHeaderName},
		{"no colon", plus("Foobar roobar"), BadHeaderName},
		{"name over two lines", strings.Replace(base, "To:", "To\r\n :", 1), BadHeaderName},
		{"fold of the start line", strings.Replace(base, "\r\nVia", "\r\n X: 1\r\nVia", 1), FoldedFirst},

		// Things that stand once.
		{"two From", plus("From: <sip:x@example.com>;tag=2"), "duplicate-from"},
		{"From and f", plus("f: <sip:x@example.com>;tag=2"), "duplicate-from"},
		{"From and blank before the colon", plus("From : <sip:x@example.com>;tag=2"), "duplicate-from"},
		{"two To", plus("TO: <sip:x@example.com>;tag=2"), "duplicate-to"},
		{"To and folded t", plus("t:\r\n <sip:x@example.com>"), "duplicate-to"},
		{"two Call-ID", plus("i: c2"), "duplicate-call-id"},
		{"two CSeq", plus("CSeq: 2 INVITE"), "duplicate-cseq"},
		{"two Max-Forwards", plus("Max-Forwards: 1"), "duplicate-max-forwards"},
		{"two Content-Length", plus("Content-Length: 0"), "duplicate-content-length"},
		{"Content-Length and l", plus("l: 5"), "duplicate-content-length"},
		{"two Refer-To", plus("Refer-To: <sip:a@h>\r\nr: <sip:b@h>"), "duplicate-refer-to"},
		{"two From in one line", with("From: <sip:a@h>;tag=1, <sip:b@h>;tag=2"), Comma},
		{"two Refer-To in one line", plus("Refer-To: <sip:a@h>, <sip:b@h>"), Comma},
		{"two Content-Type in one line", plus("Content-Type: text/plain, application/sdp"), Comma},
		{"two tags", with("From: <sip:a@h>;tag=1;TAG=2"), DupParameter},
		{"two branches", with("Via: SIP/2.0/UDP h;branch=z9hG4bK1;Branch=z9hG4bK2"), DupParameter},
		{"two transports", with("INVITE sip:h;transport=udp;TRANSPORT=tcp SIP/2.0"), DupParameter},
		{"two usernames", plus("Authorization: Digest username=\"a\", username=\"b\""), BadDigest},
		{"open quote in credentials", plus("Authorization: Digest username=\"a, realm=\"b\""), BadDigest},

		// Framing.
		{"negative length", with("Content-Length: -1"), BadLength},
		{"signed length", with("Content-Length: +0"), BadLength},
		{"length with more behind it", with("Content-Length: 0;x"), BadLength},
		{"length list", with("Content-Length: 0, 0"), BadLength},
		{"huge length", with("Content-Length: 99999999999999999999"), BadLength},
		{"length beyond the datagram", with("Content-Length: 5"), ShortBody},

		// Numbers and start lines.
		{"huge CSeq", with("CSeq: 2147483648 INVITE"), BadCSeq},
		{"negative CSeq", with("CSeq: -1 INVITE"), BadCSeq},
		{"CSeq of another method", with("CSeq: 1 ACK"), CSeqMethod},
		{"CSeq in another case", with("CSeq: 1 invite"), CSeqMethod},
		{"CSeq with more behind it", with("CSeq: 1 INVITE x"), BadCSeq},
		{"Max-Forwards below zero", with("Max-Forwards: -1"), BadMaxForward},
		{"Max-Forwards above 255", with("Max-Forwards: 256"), BadMaxForward},
		{"another version", strings.Replace(base, "SIP/2.0", "SIP/3.0", 1), BadVersion},
		{"braces in the method", strings.Replace(base, "INVITE sip", "INV{}ITE sip", 1), BadRequestLine},
		{"tab in the request line", strings.Replace(base, "INVITE sip", "INVITE\tsip", 1), BadRequestLine},

		// URIs.
		{"%00 in a user", with("INVITE sip:bob%00@example.com SIP/2.0"), EscapedByte},
		{"%0D%0A in a user", with("To: <sip:bob%0D%0aX:1@example.com>"), EscapedByte},
		{"%0a in a Contact", plus("Contact: <sip:bob@h;x=%0a>"), EscapedByte},
		{"%0a in a tel URI", with("To: <tel:+1%0a2>"), EscapedByte},
		{"an overlong NUL", with("INVITE sip:bob%C0%80@example.com SIP/2.0"), LongEscape},
		{"an overlong slash", with("To: <sip:bob%e0%80%af@h>"), LongEscape},
		{"an overlong dot in four octets", with("To: <sip:bob%f0%80%80%ae@h>"), LongEscape},
		{"half an escape", with("To: <sip:bob%4@h>"), BadEscape},
		{"two @", with("To: <sip:a@b@h>"), ManyAts},
		{"empty user", with("To: <sip:@h>"), BadUserinfo},
		{"empty host", with("To: <sip:bob@>"), BadHost},
		{"blank in a URI", with("To: <sip:bob @h>"), BadURI},
		{"angle in a URI", with("To: <sip:bob<@h>"), BadURI},
		{"port below zero", with("To: <sip:bob@h:-1>"), BadPort},
		{"signed port", with("To: <sip:bob@h:+5060>"), BadPort},
		{"port above 65535", with("To: <sip:bob@h:99999>"), BadPort},
		{"port of letters in a Via", with("Via: SIP/2.0/UDP h:abc;branch=z9hG4bK1"), BadPort},
		{"open IPv6 bracket", with("To: <sip:bob@[::1>"), BadHost},
		{"IPv6 zone", with("To: <sip:bob@[fe80::1%25eth0]>"), BadHost},
		{"IPv6 without brackets", with("To: <sip:bob@2001:db8::1>"), BadPort},
		{"headers in the Request-URI", with("INVITE sip:bob@h?Route=x SIP/2.0"), URIHeaders},
		{"question mark without angles", plus("Contact: sip:bob@h?Route=x"), BareURI},

		// Addresses and Vias.
		{"open quote", with("From: \"Alice <sip:a@h>;tag=1"), BadQuote},
		{"open angle", with("From: Alice <sip:a@h;tag=1"), BadAngle},
		{"@ in a bare display name", with("From: a@b <sip:a@h>;tag=1"), BadDisplay},
		{"text behind the angle", with("From: <sip:a@h>x;tag=1"), BadAddress},
		{"empty parameter", with("From: <sip:a@h>;;tag=1"), BadParameter},
		{"empty tag", with("From: <sip:a@h>;tag="), BadParameter},
		{"* beside a contact", plus("Contact: *\r\nContact: <sip:a@h>"), BadStar},
		{"* in an INVITE", plus("Contact: *"), BadStar},
		{"Via without transport", with("Via: SIP/2.0 h"), BadVia},
		{"empty Via", with("Via: "), BadVia},
		{"comma at the end of a Via line", with("Via: SIP/2.0/UDP h,"), BadVia},

		// Sizes.
		{"long line", plus("Subject: " + strings.Repeat("a", 2048)), LineTooLong},
		{"long line by folding", plus("Subject: a" + strings.Repeat("\r\n aaaaaaa", 300)), LineTooLong},
		{"many parameters", with("From: <sip:a@h>;tag=1" + strings.Repeat(";a", 70)), TooManySeparators},
		{"two hundred headers", plus(strings.Repeat("X-A: 1\r\n", 200) + "X-A: 1"), TooManyHeaders},
		{"a datagram of 20 KB", plus("Subject: " + strings.Repeat("a", 20000)), TooLong},

		// One reading is left of these.
		{"nothing wrong", base, ""},
		{"quoted comma and brackets", with("From: \"a, <b> \\\"\" <sip:a@h>;tag=1"), ""},
		{"parameters in capitals with blanks", with("From: <sip:a@h> ; TAG = x"), ""},
		{"blank before a colon", strings.Replace(base, "To:", "To :", 1), ""},
		{"compact names", strings.NewReplacer("Via", "v", "From", "F", "To", "t", "Call-ID", "i").Replace(base), ""},
		{"folded", strings.Replace(base, "CSeq: 1 ", "CSeq: 1\r\n \t ", 1), ""},
		{"line ends in front", "\r\n\r\n" + base, ""},
		{"two messages in one datagram", base + base, ""},
		{"quotes in a Via", with("Via: SIP/2.0/UDP h;x=\"a;branch=no\";branch=z9hG4bK2"), ""},
		{"letters of UTF-8 and Latin-1 in a user", with("To: <sip:%C3%B6%E0%A4%85%F0%9F%98%80%C0a@h>"), ""},
		{"an apostrophe in a name", with("From: O'Brien <sip:a@h>;tag=1"), ""},
		{"a method in small letters", strings.ReplaceAll(base, "INVITE", "invite"), ""},
	}
	var m Message
	for _, r := range rows {
		t.Run(r.what, func(t *testing.T) {
			p := m.Parse([]byte(r.raw), false, Limits{})
			if p != r.want {
				t.Fatalf("got %q, want %q", string(p), string(r.want))
			}
			if p == "" {
				check(t, &m, false)
				if bytes.Contains(m.Raw(), []byte("\r\n ")) || bytes.Contains(m.Raw(), []byte(" :")) {
					t.Fatalf("not plain: %q", m.Raw())
				}
			}
		})
	}
}

// TestEveryProblemHasOneMeaning guards the table from which the page on
// problems is made.
func TestEveryProblemHasOneMeaning(t *testing.T) {
	had := map[Problem]bool{}
	for _, x := range Problems() {
		if had[x.Problem] || x.Problem == "" || x.Text == "" {
			t.Errorf("%q is listed twice or without a text", string(x.Problem))
		}
		had[x.Problem] = true
	}
	if had[unplain] {
		t.Error("unplain is not for publication")
	}
}
