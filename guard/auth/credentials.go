package auth

import (
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// credentials are the digest-response parameters of RFC 7616 section 3.4. The
// strings alias the message.
type credentials struct {
	username, realm, nonce, uri, response string
	algorithm, cnonce, opaque, qop, nc    string
	userhash                              string
}

// parseCredentials reads the value of an Authorization header. It refuses other
// schemes, parameters given twice and quotes that do not end: two readers could
// read them differently.
func parseCredentials(value string) (c credentials, ok bool) {
	scheme, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Digest") {
		return c, false
	}
	seen := 0
	for rest = space(rest); rest != ""; {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			return c, false
		}
		var text string
		if text, rest, ok = parameterValue(space(after)); !ok {
			return c, false
		}
		if field, bit := c.field(strings.TrimRight(name, " \t")); field != nil {
			if seen&bit != 0 {
				return c, false
			}
			seen |= bit
			*field = text
		}
		if rest == "" {
			break
		}
		if rest[0] != ',' {
			return c, false
		}
		rest = space(rest[1:])
	}
	return c, c.nonce != "" && c.response != ""
}

// parameterValue takes a token or a quoted string off the front. What is between the
// quotes stays as it was written: that is what phones hash.
func parameterValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		end := strings.IndexByte(s, ',')
		if end < 0 {
			end = len(s)
		}
		value = strings.TrimRight(s[:end], " \t")
		return value, s[end:], !strings.ContainsAny(value, "\" \t")
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], space(s[i+1:]), true
		}
	}
	return "", "", false
}

func space(s string) string { return strings.TrimLeft(s, " \t") }

func (c *credentials) field(name string) (*string, int) {
	fields := [...]struct {
		name string
		at   *string
	}{
		{"username", &c.username}, {"realm", &c.realm}, {"nonce", &c.nonce}, {"uri", &c.uri},
		{"response", &c.response}, {"algorithm", &c.algorithm}, {"cnonce", &c.cnonce},
		{"opaque", &c.opaque}, {"qop", &c.qop}, {"nc", &c.nc}, {"userhash", &c.userhash},
	}
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return fields[i].at, 1 << i
		}
	}
	return nil, 0
}

// credentialHeaders yields the values of both headers that carry credentials.
func credentialHeaders(x *index.Message) func(func(index.Span) bool) {
	return func(yield func(index.Span) bool) {
		for _, h := range x.Headers() {
			if (h.Name == index.AuthorizationName || h.Name == index.ProxyAuthorizationName) && !yield(h.Value) {
				return
			}
		}
	}
}

// find gives the credentials that are meant for us. Of several the first one
// that carries a nonce of ours counts, else the first one for our realm: a
// request may bring credentials for servers behind us as well (RFC 3261
// section 22.3).
func (a *Auth) find(m *guard.Message) (c credentials, f freshness, key *keyPair, found bool) {
	if m.Index == nil || !m.Index.Request {
		return c, foreign, nil, false
	}
	for value := range credentialHeaders(m.Index) {
		got, ok := parseCredentials(m.Index.Text(value))
		if !ok {
			continue
		}
		if f, key := a.freshness(got.nonce, m.Src, m.At); f != foreign {
			return got, f, key, true
		}
		if !found && got.realm == a.realmText {
			c, found = got, true
		}
	}
	return c, foreign, nil, found
}
