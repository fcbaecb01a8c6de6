package sanity

import (
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// A Problem is the stable name of something wrong with a request. The names are
// published in the README and never renamed.
type Problem string

// The problems, in the order in which they are looked for.
const (
	URIScheme      Problem = "uri-scheme"           // Request-URI is not sip, sips, tel or urn (RFC 3261 section 8.2.2.1)
	URIUser        Problem = "uri-user"             // Request-URI user has bytes that no user has, even escaped
	FromScheme     Problem = "from-scheme"          // From is not sip, sips or tel
	ToScheme       Problem = "to-scheme"            // To is not sip, sips, tel or urn
	EmptyBranch    Problem = "branch-empty"         // the branch is the magic cookie and nothing more (section 8.1.1.7)
	MaxForwards    Problem = "max-forwards-range"   // above 255 (section 20.22)
	ManyVias       Problem = "via-count"            // more Via values than configured
	NoContact      Problem = "contact-missing"      // an INVITE without Contact (section 8.1.1.8)
	ManyContacts   Problem = "contact-count"        // more Contact values than configured
	StarExpires    Problem = "contact-star"         // "*" outside REGISTER or with Expires above 0 (section 10.2.2)
	NoEvent        Problem = "event-missing"        // SUBSCRIBE, NOTIFY or PUBLISH without Event (RFC 6665, RFC 3903)
	NoReferTo      Problem = "refer-to-missing"     // REFER without exactly one Refer-To (RFC 3515 section 2.4.2)
	ManyAccepts    Problem = "accept-count"         // more Accept values than configured (CVE-2018-7284)
	SubjectURL     Problem = "subject-url"          // from outside: a link for the one who is called
	AlertInfoURL   Problem = "alert-info-url"       // from outside: a link that the phone fetches
	CallInfoURL    Problem = "call-info-url"        // from outside: a link that the phone fetches
	NoContentType  Problem = "content-type-missing" // a body of no type (section 20.15)
	Encoded        Problem = "content-encoding"     // a body that must be unpacked to be seen
	Boundary       Problem = "multipart-boundary"   // none, or longer than 70 (RFC 2046 section 5.1.1; AST-2017-003)
	MultipartDepth Problem = "multipart-depth"      // multiparts inside each other beyond the configured depth
	SDPVersion     Problem = "sdp-version"          // does not begin with v=0 (RFC 8866 section 5.1)
	SDPLine        Problem = "sdp-line"             // not of the form x=...
	SDPAddress     Problem = "sdp-address"          // c= that media must not be sent to
	SDPMedia       Problem = "sdp-media"            // m= without media, port, protocol and format
	SDPPort        Problem = "sdp-port"             // a port from 1 to 1023, or above 65535
	SDPFormat      Problem = "sdp-format"           // an RTP format that is not a payload type (CVE-2018-1000098)
	SDPFmtp        Problem = "sdp-fmtp"             // a=fmtp without format and text (CVE-2018-1000099)
	SDPMediaCount  Problem = "sdp-media-count"      // more m= lines than configured
)

// problem is the first problem of a request; responses and ended calls have none.
func (k *checker) problem(m *guard.Message) Problem {
	x := m.Index
	if x == nil || !x.Request {
		return ""
	}
	if p := addresses(x); p != "" {
		return p
	}
	if p := k.headers(m, x); p != "" {
		return p
	}
	return k.body(m, x)
}

func addresses(x *index.Message) Problem {
	scheme := func(u index.URI) string { return x.Text(u.Scheme) }
	switch {
	case !oneOf(scheme(x.URI), "sip", "sips", "tel", "urn"):
		return URIScheme
	case strangeUser(x.Text(x.URI.User)):
		return URIUser
	case !oneOf(scheme(x.From.URI), "sip", "sips", "tel"):
		return FromScheme
	case !oneOf(scheme(x.To.URI), "sip", "sips", "tel", "urn"):
		return ToScheme
	case len(x.Bytes(x.Via.Branch)) == len("z9hG4bK") && strings.EqualFold(x.Text(x.Via.Branch), "z9hG4bK"):
		return EmptyBranch
	case x.MaxForwards > 255:
		return MaxForwards
	}
	return ""
}

func (k *checker) headers(m *guard.Message, x *index.Message) Problem {
	contacts := contacts(x)
	star := contacts > 0 && x.Text(x.Value(index.ContactName)) == "*"
	switch {
	case x.Vias > k.Vias:
		return ManyVias
	case x.Method == index.Invite && contacts == 0:
		return NoContact
	case contacts > k.Contacts:
		return ManyContacts
	case star && (x.Method != index.Register || x.Expires != 0 || contacts > 1):
		return StarExpires
	case (x.Method == index.Subscribe || x.Method == index.Notify || x.Method == index.Publish) && x.Count(index.EventName) == 0:
		return NoEvent
	case x.Method == index.Refer && x.Count(index.ReferToName) != 1:
		return NoReferTo
	case accepts(x) > k.Accepts:
		return ManyAccepts
	}
	if m.Inside || m.Peer != "" {
		return ""
	}
	switch {
	case linked(x, index.SubjectName):
		return SubjectURL
	case linked(x, index.AlertInfoName):
		return AlertInfoURL
	case linked(x, index.CallInfoName):
		return CallInfoURL
	}
	return ""
}

func (k *checker) body(m *guard.Message, x *index.Message) Problem {
	body := x.Text(x.Body)
	if body == "" {
		return ""
	}
	kind := x.Text(x.Value(index.ContentTypeName))
	switch {
	case kind == "":
		return NoContentType
	case x.Count(index.ContentEncodingName) > 0 && !strings.EqualFold(x.Text(x.Value(index.ContentEncodingName)), "identity"):
		return Encoded
	case prefixFold(kind, "application/sdp"):
		return k.sdp(body, m.Src.Addr())
	case prefixFold(kind, "multipart/"):
		return k.multipart(kind, body, m.Src.Addr())
	}
	return ""
}

func oneOf(s string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(s, w) {
			return true
		}
	}
	return false
}

// strangeUser finds what dial plans and shells would act on. The grammar of
// users (RFC 3261 section 25.1) has none of these bytes; apostrophe and
// ampersand it has, and O'Brien may call.
func strangeUser(user string) bool {
	if strings.ContainsAny(user, "|`{}\\^\"<>") {
		return true
	}
	if strings.IndexByte(user, '%') < 0 {
		return false
	}
	return strings.ContainsAny(unescape(user), "|`{}\\\r\n\x00")
}

// contacts counts the Contact values over their lines and commas.
func contacts(x *index.Message) (count int) {
	if x.Count(index.ContactName) == 0 {
		return 0
	}
	for list := x.Addresses(index.ContactName); ; count++ {
		if _, _, ok := list.Next(); !ok {
			return count
		}
	}
}

func accepts(x *index.Message) (n int) {
	for _, h := range x.Headers() {
		if h.Name == index.Other && strings.EqualFold(x.Text(h.Key), "Accept") {
			n += 1 + strings.Count(x.Text(h.Value), ",")
		}
	}
	return n
}

// linked tells whether a header holds a link that leads out of SIP.
func linked(x *index.Message, n index.Name) bool {
	if x.Count(n) == 0 {
		return false
	}
	for _, h := range x.Headers() {
		if h.Name != n {
			continue
		}
		for s := x.Text(h.Value); ; {
			i := strings.Index(s, "://")
			if i < 0 {
				break
			}
			for _, scheme := range [...]string{"http", "https", "ftp", "file", "tftp"} {
				if i >= len(scheme) && strings.EqualFold(s[i-len(scheme):i], scheme) {
					return true
				}
			}
			s = s[i+3:]
		}
	}
	return false
}

func prefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
