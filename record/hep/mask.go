package hep

import (
	"bytes"

	"ringfence/record/tap"
)

// Mask puts stars in the place of what proves who somebody is: the response of
// Authorization and Proxy-Authorization (RFC 7616 section 3.4), and everything
// but the scheme where that is not Digest, since Basic holds the password
// itself (RFC 7617). raw is changed and keeps its length, and its place in a
// stream of others.
func Mask(raw []byte) {
	for name, value := range tap.Fields(raw) {
		if !bytes.EqualFold(name, []byte("Authorization")) && !bytes.EqualFold(name, []byte("Proxy-Authorization")) {
			continue
		}
		scheme := bytes.IndexAny(value, " \t\r\n")
		if scheme < 0 {
			star(value) // who writes no scheme may have written anything
			continue
		}
		if !bytes.EqualFold(value[:scheme], []byte("Digest")) {
			star(value[scheme:])
			continue
		}
		maskResponses(value)
	}
}

// maskResponses masks every parameter whose name ends in "response", wherever a
// careless reader would find one: within another's quotes too.
func maskResponses(value []byte) {
	name := []byte("response")
	for at := 0; at+len(name) <= len(value); at++ {
		if !bytes.EqualFold(value[at:at+len(name)], name) {
			continue
		}
		i := skipBlanks(value, at+len(name))
		if i == len(value) || value[i] != '=' {
			continue
		}
		i = skipBlanks(value, i+1)
		end := len(value)
		if i < len(value) && value[i] == '"' {
			i++
			if n := bytes.IndexByte(value[i:], '"'); n >= 0 {
				end = i + n
			}
		} else if n := bytes.IndexByte(value[i:], ','); n >= 0 {
			end = i + n
		}
		star(value[i:end])
		at = end - 1
	}
}

// skipBlanks goes over white space, that of folded lines too.
func skipBlanks(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\t' || b[at] == '\r' || b[at] == '\n') {
		at++
	}
	return at
}

// star leaves line ends and blanks as they are.
func star(b []byte) {
	for i, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			b[i] = '*'
		}
	}
}
