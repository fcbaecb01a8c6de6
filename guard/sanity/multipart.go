package sanity

import (
	"net/netip"
	"strings"
)

// multipart checks a body of several parts (RFC 2046 section 5.1) without
// copying it: its boundary, how deep parts lie in each other, and the session
// descriptions in it.
func (k *checker) multipart(kind, body string, src netip.Addr) Problem {
	return k.parts(kind, body, src, 1)
}

func (k *checker) parts(kind, body string, src netip.Addr, depth int) Problem {
	if depth > k.Depth {
		return MultipartDepth
	}
	mark, ok := boundary(kind)
	if !ok {
		return Boundary
	}
	part := ""
	for inside := false; ; {
		head, rest, last, found := delimiter(body, mark)
		if part = head; inside {
			if p := k.part(part, src, depth); p != "" {
				return p
			}
		}
		if !found || last {
			return ""
		}
		inside, body = true, rest
	}
}

func (k *checker) part(part string, src netip.Addr, depth int) Problem {
	kind := ""
	for part != "" {
		var line string
		line, part, _ = strings.Cut(part, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		if name, value, found := strings.Cut(line, ":"); found && strings.EqualFold(strings.TrimSpace(name), "Content-Type") {
			kind = strings.TrimSpace(value)
		}
	}
	switch {
	case prefixFold(kind, "multipart/"):
		return k.parts(kind, part, src, depth+1)
	case prefixFold(kind, "application/sdp"):
		return k.sdp(part, src)
	}
	return ""
}

// delimiter finds the next line that is "--" and the boundary. last tells that
// it is the closing one.
func delimiter(body, mark string) (head, rest string, last, found bool) {
	for from := 0; from < len(body); {
		line, end := body[from:], len(body)
		if i := strings.IndexByte(line, '\n'); i >= 0 {
			line, end = line[:i], from+i+1
		}
		if text, dashed := strings.CutPrefix(line, "--"); dashed {
			if after, ours := strings.CutPrefix(text, mark); ours {
				after = strings.TrimRight(after, " \t\r")
				if after == "" || after == "--" {
					return body[:from], body[end:], after == "--", true
				}
			}
		}
		from = end
	}
	return body, "", false, false
}

// boundary reads the parameter of a Content-Type, at most 70 bytes.
func boundary(kind string) (string, bool) {
	_, rest, _ := strings.Cut(kind, ";")
	for rest != "" {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		name, value, found := strings.Cut(one, "=")
		if !found || !strings.EqualFold(strings.Trim(name, " \t"), "boundary") {
			continue
		}
		value = strings.Trim(value, " \t")
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		return value, value != "" && len(value) <= 70 && !strings.ContainsAny(value, "\"\\")
	}
	return "", false
}
