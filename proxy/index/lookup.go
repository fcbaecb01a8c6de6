package index

// String is the header name in its long form, spelled as in its RFC.
func (n Name) String() string { return nameTexts[n] }

var nameTexts = [names]string{
	Other: "", ViaName: "Via", FromName: "From", ToName: "To", CallIDName: "Call-ID",
	CSeqName: "CSeq", ContactName: "Contact", MaxForwardsName: "Max-Forwards",
	RouteName: "Route", RecordRouteName: "Record-Route", PathName: "Path",
	ServiceRouteName: "Service-Route", ContentLengthName: "Content-Length",
	ContentTypeName: "Content-Type", ContentEncodingName: "Content-Encoding",
	ExpiresName: "Expires", MinExpiresName: "Min-Expires",
	AuthorizationName: "Authorization", ProxyAuthorizationName: "Proxy-Authorization",
	WWWAuthenticateName: "WWW-Authenticate", ProxyAuthenticateName: "Proxy-Authenticate",
	ProxyRequireName: "Proxy-Require", RequireName: "Require", SupportedName: "Supported",
	UnsupportedName: "Unsupported", AllowName: "Allow", AllowEventsName: "Allow-Events",
	EventName: "Event", SubscriptionStateName: "Subscription-State",
	UserAgentName: "User-Agent", ServerName: "Server", ReferToName: "Refer-To",
	ReferredByName: "Referred-By", ReplacesName: "Replaces", JoinName: "Join",
	SessionExpiresName: "Session-Expires", MinSEName: "Min-SE",
	RetryAfterName: "Retry-After", ReasonName: "Reason", IdentityName: "Identity",
	PAssertedIdentityName: "P-Asserted-Identity", PPreferredIdentityName: "P-Preferred-Identity",
	RemotePartyIDName: "Remote-Party-ID", DiversionName: "Diversion",
	HistoryInfoName: "History-Info", PrivacyName: "Privacy", SubjectName: "Subject",
	DateName: "Date", WarningName: "Warning", AcceptContactName: "Accept-Contact",
	RejectContactName: "Reject-Contact", RequestDispositionName: "Request-Disposition",
	MaxBreadthName: "Max-Breadth", AlertInfoName: "Alert-Info", CallInfoName: "Call-Info",
}

// compact holds the long form of each one-letter name, by letter (RFC 3261
// section 7.3.3 and the SIP parameter registry).
var compact = [26]string{
	0: "Accept-Contact", 'b' - 'a': "Referred-By", 'c' - 'a': "Content-Type",
	'd' - 'a': "Request-Disposition", 'e' - 'a': "Content-Encoding", 'f' - 'a': "From",
	'i' - 'a': "Call-ID", 'j' - 'a': "Reject-Contact", 'k' - 'a': "Supported",
	'l' - 'a': "Content-Length", 'm' - 'a': "Contact", 'n' - 'a': "Identity-Info",
	'o' - 'a': "Event", 'r' - 'a': "Refer-To", 's' - 'a': "Subject", 't' - 'a': "To",
	'u' - 'a': "Allow-Events", 'v' - 'a': "Via", 'x' - 'a': "Session-Expires", 'y' - 'a': "Identity",
}

// written is the long form of a compact name, "" if it is none.
func written(name []byte) string {
	if len(name) != 1 {
		return ""
	}
	if c := lower(name[0]) - 'a'; c < 26 {
		return compact[c]
	}
	return ""
}

// A slot of the table of names holds the names of one hash; four fit.
type slot [4]Name

var slots = fill()

func fill() (t [256]slot) {
	for n := Other + 1; n < names; n++ {
		s := &t[hash([]byte(nameTexts[n]))]
		free := 0
		for s[free] != Other { // a fifth name stops the program before it starts
			free++
		}
		s[free] = n
	}
	return t
}

// hash spreads header names, which are not empty, by length, first, middle and
// last letter in any case.
func hash(name []byte) uint8 {
	l := len(name)
	return uint8(l)*37 ^ (name[0]|0x20)*5 ^ (name[l/2]|0x20)*11 ^ (name[l-1]|0x20)*3
}

// lookup finds the name of a header in any case.
func lookup(name []byte) Name {
	s := &slots[hash(name)]
	for _, n := range s {
		if n != Other && equalFold(name, nameTexts[n]) {
			return n
		}
	}
	return Other
}

// method finds a method; methods are case-sensitive (RFC 3261 section 7.1).
func method(b []byte) Method {
	switch string(b) {
	case "INVITE":
		return Invite
	case "ACK":
		return Ack
	case "BYE":
		return Bye
	case "CANCEL":
		return Cancel
	case "REGISTER":
		return Register
	case "OPTIONS":
		return Options
	case "PRACK":
		return Prack
	case "SUBSCRIBE":
		return Subscribe
	case "NOTIFY":
		return Notify
	case "PUBLISH":
		return Publish
	case "INFO":
		return Info
	case "REFER":
		return Refer
	case "MESSAGE":
		return MessageMethod
	case "UPDATE":
		return Update
	}
	return MethodOther
}
