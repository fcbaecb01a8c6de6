package index

// The problems. Each is a reason to refuse a message; see Problems for what
// they mean.
const (
	Empty             Problem = "empty"
	TooLong           Problem = "too-long"
	LineTooLong       Problem = "line-too-long"
	TooManyHeaders    Problem = "too-many-headers"
	TooManySeparators Problem = "too-many-separators"
	BareCR            Problem = "bare-cr"
	BareLF            Problem = "bare-lf"
	Control           Problem = "control-byte"
	NoBlankLine       Problem = "no-blank-line"

	BadRequestLine Problem = "bad-request-line"
	BadStatusLine  Problem = "bad-status-line"
	BadStatus      Problem = "bad-status"
	BadVersion     Problem = "bad-version"
	FoldedFirst    Problem = "folded-first-header"
	BadHeaderName  Problem = "bad-header-name"

	BadScheme     Problem = "bad-uri-scheme"
	BadURI        Problem = "bad-uri"
	BadEscape     Problem = "bad-escape"
	EscapedByte   Problem = "escaped-control-byte"
	LongEscape    Problem = "overlong-escape"
	BadUserinfo   Problem = "bad-uri-user"
	ManyAts       Problem = "two-ats-in-uri"
	BadHost       Problem = "bad-host"
	BadPort       Problem = "bad-port"
	URIHeaders    Problem = "uri-headers"
	BareURI       Problem = "question-mark-outside-angles"
	BadParameter  Problem = "bad-parameter"
	DupParameter  Problem = "duplicate-parameter"
	BadQuote      Problem = "unterminated-quote"
	BadAngle      Problem = "unterminated-angle"
	BadDisplay    Problem = "bad-display-name"
	BadAddress    Problem = "bad-address"
	Comma         Problem = "comma-in-single-header"
	BadStar       Problem = "bad-contact-star"
	BadVia        Problem = "bad-via"
	BadCallID     Problem = "bad-call-id"
	BadCSeq       Problem = "bad-cseq"
	CSeqMethod    Problem = "cseq-method-mismatch"
	BadMaxForward Problem = "bad-max-forwards"
	BadExpires    Problem = "bad-expires"
	BadLength     Problem = "bad-content-length"
	BadDigest     Problem = "bad-credentials"

	MissingVia    Problem = "missing-via"
	MissingFrom   Problem = "missing-from"
	MissingTo     Problem = "missing-to"
	MissingCallID Problem = "missing-call-id"
	MissingCSeq   Problem = "missing-cseq"
	MissingLength Problem = "missing-content-length"
	ShortBody     Problem = "short-body"
	TrailingBytes Problem = "octets-after-body"

	// unplain is not published: the message has to be put into plain form.
	unplain Problem = "unplain"
)

// A Meaning is what one problem means, in a line.
type Meaning struct {
	Problem Problem
	Text    string
}

// Problems lists every problem that Parse can return, in the order in which a
// message meets them.
func Problems() []Meaning {
	list := []Meaning{
		{Empty, "there is nothing but line ends (RFC 3261 section 7.5)"},
		{TooLong, "the message is longer than Limits.Size, as it came or in plain form"},
		{LineTooLong, "a line is longer than Limits.Line after unfolding"},
		{TooManyHeaders, "there are more header lines than Limits.Headers"},
		{TooManySeparators, "a line has more semicolons, commas and ampersands than Limits.Separators"},
		{BareCR, "a carriage return without a line feed: some readers end the line there, some do not"},
		{BareLF, "a line feed without a carriage return: some readers end the line there, some do not"},
		{Control, "a control byte, NUL or DEL in the start line or in a header, quoted or not"},
		{NoBlankLine, "the headers do not end with an empty line"},
		{BadRequestLine, "the request line is not method, one space, URI, one space, version (RFC 3261 section 7.1)"},
		{BadStatusLine, "the status line is not version, one space, code, one space, reason (RFC 3261 section 7.2)"},
		{BadStatus, "the status code is not three digits from 100 to 699"},
		{BadVersion, "the version is not SIP/2.0"},
		{FoldedFirst, "the first header line begins with a blank: a fold of the start line"},
		{BadHeaderName, "a header line without a colon, or a header name that is no token"},
		{BadScheme, "a URI without a scheme"},
		{BadURI, "a byte in a URI that RFC 3261 section 25.1 does not allow there, or an empty URI"},
		{BadEscape, "a percent sign in a URI that two hexadecimal digits do not follow"},
		{EscapedByte, "%00, %0a or %0d in a URI: it ends a string or a line in whoever undoes the escape"},
		{LongEscape, "an escaped character in more octets than UTF-8 needs (RFC 3629 section 3): some readers see another character in it"},
		{BadUserinfo, "the user part is empty or has two colons"},
		{ManyAts, "a URI with more than one @"},
		{BadHost, "an empty host, one with a byte that no host name has, or an IPv6 address that is none (RFC 5954)"},
		{BadPort, "a port that is not a number from 1 to 65535"},
		{URIHeaders, "headers in the Request-URI (RFC 3261 section 19.1.1)"},
		{BareURI, "a question mark in an address without angle brackets (RFC 3261 section 20)"},
		{BadParameter, "an empty or ill-formed parameter"},
		{DupParameter, "the same parameter twice with two values, or a tag, branch, received or rport twice (RFC 3261 section 7.3.1)"},
		{BadQuote, "a quoted string that does not end"},
		{BadAngle, "an angle bracket that is not closed"},
		{BadDisplay, "a display name with a byte that needs quotes"},
		{BadAddress, "an address with something behind it that is no parameter, or no address at all"},
		{Comma, "several values in a header that has one"},
		{BadStar, "a Contact of * beside other contacts, or outside of REGISTER"},
		{BadVia, "a Via that is not SIP/2.0/transport, blank, host (RFC 3261 section 20.42)"},
		{BadCallID, "a Call-ID that is empty or has a blank, a comma or a semicolon"},
		{BadCSeq, "a CSeq that is not a number below 2**31, blank, method (RFC 3261 section 20.16)"},
		{CSeqMethod, "the method of CSeq is not the method of the request (RFC 3261 section 8.1.1.5)"},
		{BadMaxForward, "Max-Forwards is not a number from 0 to 255 (RFC 3261 section 20.22)"},
		{BadExpires, "Expires is not a number from 0 to 2**32-1 (RFC 3261 section 20.19)"},
		{BadLength, "Content-Length is not a number (RFC 3261 section 20.14)"},
		{BadDigest, "digest credentials or a challenge with a field twice, without a value or with an open quote"},
		{MissingVia, "no Via"},
		{MissingFrom, "no From"},
		{MissingTo, "no To"},
		{MissingCallID, "no Call-ID"},
		{MissingCSeq, "no CSeq"},
		{MissingLength, "no Content-Length on a stream (RFC 3261 section 18.3)"},
		{ShortBody, "Content-Length is more than there is"},
		{TrailingBytes, "more than one message was handed over from a stream"},
	}
	for n := range names {
		if p := duplicates[n]; p != "" {
			list = append(list, Meaning{p, "the header " + n.String() + " twice: readers take the first, the last or both"})
		}
	}
	return list
}

// duplicates holds, for each header that a message has once (RFC 3261 section
// 7.3.1 and table 2, and the RFCs of the extensions), the problem of a second.
var duplicates = [names]Problem{
	FromName:              "duplicate-from",
	ToName:                "duplicate-to",
	CallIDName:            "duplicate-call-id",
	CSeqName:              "duplicate-cseq",
	MaxForwardsName:       "duplicate-max-forwards",
	ContentLengthName:     "duplicate-content-length",
	ContentTypeName:       "duplicate-content-type",
	ExpiresName:           "duplicate-expires",
	MinExpiresName:        "duplicate-min-expires",
	EventName:             "duplicate-event",
	SubscriptionStateName: "duplicate-subscription-state",
	UserAgentName:         "duplicate-user-agent",
	ServerName:            "duplicate-server",
	ReferToName:           "duplicate-refer-to",
	ReferredByName:        "duplicate-referred-by",
	ReplacesName:          "duplicate-replaces",
	JoinName:              "duplicate-join",
	SessionExpiresName:    "duplicate-session-expires",
	MinSEName:             "duplicate-min-se",
	RetryAfterName:        "duplicate-retry-after",
	SubjectName:           "duplicate-subject",
	DateName:              "duplicate-date",
	MaxBreadthName:        "duplicate-max-breadth",
}
