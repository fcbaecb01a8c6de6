package auth

import (
	"ringfence/guard"
	"ringfence/proxy/index"
)

// credentials are the digest-response parameters of RFC 7616 section 3.4. The
// strings alias the message.
type credentials struct {
	username, realm, nonce, uri, response string
	algorithm, cnonce, qop, nc, userhash  string
}

// read reads the value of an Authorization header as the index does: it refuses
// other schemes, parameters given twice and quotes that do not end. What is
// between quotes stays as it was written: that is what phones hash.
func read(x *index.Message, value index.Span) (c credentials, ok bool) {
	d, ok := x.Credentials(value)
	if !ok || d.Nonce.Empty() || d.Response.Empty() {
		return c, false
	}
	return credentials{
		username: x.Text(d.Username), realm: x.Text(d.Realm), nonce: x.Text(d.Nonce), uri: x.Text(d.URI),
		response: x.Text(d.Response), algorithm: x.Text(d.Algorithm), cnonce: x.Text(d.CNonce),
		qop: x.Text(d.QOP), nc: x.Text(d.NC), userhash: x.Text(d.UserHash),
	}, true
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
		got, ok := read(m.Index, value)
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
