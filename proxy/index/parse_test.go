package index

import (
	"strings"
)

// invite is a plain INVITE with a body, 800 bytes or so.
var invite = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-776asdhds;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: \"Alice\" <sip:alice@example.com>;tag=1928301774\r\n" +
	"To: Bob <sip:bob@example.com>\r\n" +
	"Call-ID: a84b4c76e66710@pc33.example.com\r\n" +
	"CSeq: 314159 INVITE\r\n" +
	"Contact: <sip:alice@192.0.2.10:5060;transport=udp>\r\n" +
	"User-Agent: Phone/1.0\r\n" +
	"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER\r\n" +
	"Supported: replaces, timer\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Content-Length: 283\r\n" +
	"\r\n" + body

var body = strings.Repeat("v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.10\r\n", 6)[:283]
