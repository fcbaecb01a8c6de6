package auth

import (
	"strings"
	"unsafe"

	"ringfence/proxy/index"
)

// uriMatches tells whether the uri of credentials names what the request asks
// for (RFC 7616 section 3.4.6). A Request-URI changes on its way and phones write
// the uri before it does, so tolerant compares user and host only: no scheme,
// port or parameters, and a uri without a user names the server. Without this check credentials for one number would do for
// another.
func (a *Auth) uriMatches(x *index.Message, uri string) bool {
	switch a.o.URI {
	case "off":
		return true
	case "exact":
		return uri == x.Text(x.URI.Text)
	}
	if uri == x.Text(x.URI.Text) {
		return true
	}
	scheme, rest, found := strings.Cut(uri, ":")
	if !found {
		return false
	}
	if !strings.EqualFold(scheme, "sip") && !strings.EqualFold(scheme, "sips") {
		// tel and urn have no host.
		number, _, _ := strings.Cut(rest, ";")
		return strings.EqualFold(scheme, x.Text(x.URI.Scheme)) && x.URI.Host.Empty() && number == x.Text(x.URI.User)
	}
	user, host, found := cutLast(rest, '@')
	if !found {
		user, host = "", rest
	} else {
		user, _, _ = strings.Cut(user, ":")
	}
	if i := strings.IndexAny(host, ";?"); i >= 0 {
		host = host[:i]
	}
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	// Some agents name only the server, whatever they ask it for. What that gives
	// away is little: the nonce count keeps the credentials from being used twice.
	return (user == x.Text(x.URI.User) || !found) && strings.EqualFold(host, x.Text(x.URI.Host))
}

// text reads bytes as a string that must not outlive them.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
