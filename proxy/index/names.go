package index

// A Method is a SIP method that ringfence knows.
type Method uint8

// The methods, RFC 3261 and its extensions. MethodOther is any other token.
const (
	MethodOther Method = iota
	Invite
	Ack
	Bye
	Cancel
	Register
	Options
	Prack     // RFC 3262
	Subscribe // RFC 6665
	Notify    // RFC 6665
	Publish   // RFC 3903
	Info      // RFC 6086
	Refer     // RFC 3515
	MessageMethod
	Update // RFC 3311
)

// String is the method as it stands in a request line; "OTHER" for MethodOther.
func (m Method) String() string { return methodTexts[m] }

var methodTexts = [...]string{
	MethodOther: "OTHER", Invite: "INVITE", Ack: "ACK", Bye: "BYE", Cancel: "CANCEL",
	Register: "REGISTER", Options: "OPTIONS", Prack: "PRACK", Subscribe: "SUBSCRIBE",
	Notify: "NOTIFY", Publish: "PUBLISH", Info: "INFO", Refer: "REFER",
	MessageMethod: "MESSAGE", Update: "UPDATE",
}

// A Name is a header name that ringfence knows.
type Name uint8

// The header names. Other is any other token.
const (
	Other Name = iota
	ViaName
	FromName
	ToName
	CallIDName
	CSeqName
	ContactName
	MaxForwardsName
	RouteName
	RecordRouteName
	PathName
	ServiceRouteName
	ContentLengthName
	ContentTypeName
	ContentEncodingName
	ExpiresName
	MinExpiresName
	AuthorizationName
	ProxyAuthorizationName
	WWWAuthenticateName
	ProxyAuthenticateName
	ProxyRequireName
	RequireName
	SupportedName
	UnsupportedName
	AllowName
	AllowEventsName
	EventName
	SubscriptionStateName
	UserAgentName
	ServerName
	ReferToName
	ReferredByName
	ReplacesName
	JoinName
	SessionExpiresName
	MinSEName
	RetryAfterName
	ReasonName
	IdentityName
	PAssertedIdentityName
	PPreferredIdentityName
	RemotePartyIDName
	DiversionName
	HistoryInfoName
	PrivacyName
	SubjectName
	DateName
	WarningName
	AcceptContactName
	RejectContactName
	RequestDispositionName
	MaxBreadthName
	AlertInfoName
	CallInfoName
	names // how many; keep last
)
