package sanity

import (
	"net/netip"
	"strconv"
	"strings"
)

// sdp checks a session description (RFC 8866) for what has crashed servers or
// turned them against their own network. It reads lines; it does not judge
// what is negotiated.
func (k *checker) sdp(body string, src netip.Addr) Problem {
	if !strings.HasPrefix(body, "v=0\r") && !strings.HasPrefix(body, "v=0\n") {
		return SDPVersion
	}
	media, rtp := 0, false
	for body != "" {
		var line string
		line, body, _ = strings.Cut(body, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
			return SDPLine
		}
		value := line[2:]
		switch line[0] {
		case 'c':
			if !connection(value, src) {
				return SDPAddress
			}
		case 'm':
			if media++; media > k.Media {
				return SDPMediaCount
			}
			var p Problem
			if p, rtp = mediaLine(value); p != "" {
				return p
			}
		case 'a':
			if text, found := strings.CutPrefix(value, "fmtp:"); found && rtp {
				format, parameters, spaced := strings.Cut(text, " ")
				if !payloadType(format) || !spaced || strings.TrimSpace(parameters) == "" {
					return SDPFmtp
				}
			}
		}
	}
	return ""
}

// mediaLine checks "media port[/count] protocol format ..." (RFC 8866 section 5.14).
func mediaLine(value string) (p Problem, rtp bool) {
	_, rest, ok1 := strings.Cut(value, " ")
	port, rest, ok2 := strings.Cut(rest, " ")
	protocol, formats, ok3 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !ok3 || port == "" || protocol == "" || strings.TrimSpace(formats) == "" {
		return SDPMedia, false
	}
	port, _, _ = strings.Cut(port, "/")
	n, err := strconv.ParseUint(port, 10, 32)
	switch {
	case err != nil:
		return SDPMedia, false
	case n > 65535 || n > 0 && n < 1024:
		// 0 refuses a stream and 9 is the port that does not matter yet (RFC 8840).
		if n != 9 {
			return SDPPort, false
		}
	}
	rtp = strings.Contains(protocol, "RTP/")
	for rtp && formats != "" {
		var format string
		format, formats, _ = strings.Cut(formats, " ")
		if format != "" && !payloadType(format) {
			return SDPFormat, false
		}
	}
	return "", rtp
}

// payloadType is 0 to 127 in decimal (RFC 3550 section 5.1).
func payloadType(s string) bool {
	n, err := strconv.ParseUint(s, 10, 8)
	return err == nil && n < 128
}

// connection checks "IN IP4 address" (RFC 8866 section 5.7): media must not be
// sent to the server itself, to a link's neighbours, among them a cloud's
// metadata service, or to a group. A source on loopback or on the link may name
// its own kind.
func connection(value string, src netip.Addr) bool {
	kind, rest, ok := strings.Cut(value, " ")
	family, host, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || kind != "IN" || family != "IP4" && family != "IP6" {
		return false
	}
	host, _, _ = strings.Cut(strings.TrimSpace(host), "/")
	if strings.EqualFold(host, "localhost") {
		return src.Unmap().IsLoopback()
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		// A name: not ours to resolve. A zone is no name.
		return host != "" && !strings.ContainsAny(host, "%:[] ")
	}
	if a.Zone() != "" || a.Is4() != (family == "IP4") || a.Is4In6() {
		return false
	}
	src = src.Unmap()
	switch {
	case a.IsLoopback():
		return src.IsLoopback()
	case a.IsLinkLocalUnicast():
		return src.IsLinkLocalUnicast()
	}
	return !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
