// Package guard is the vocabulary of ringfence and the engine that takes a
// message through the stages.
//
// It knows what a message, a fact, a stage, a verdict and a decision are. It
// knows no rule syntax, no database and no network. Guards know, rules decide:
// a guard computes facts, and only a Policy turns facts into a verdict.
package guard

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringfence/proxy/index"
)

// A Transport is what a message came over.
type Transport uint8

// The transports, RFC 3261 section 18 and RFC 7118.
const (
	UDP Transport = iota
	TCP
	TLS
	WS
	WSS
)

var transportTexts = [...]string{UDP: "udp", TCP: "tcp", TLS: "tls", WS: "ws", WSS: "wss"}

// String is the transport in lower case, as in a URI parameter.
func (t Transport) String() string { return transportTexts[t] }

// Stream tells whether the transport keeps connections.
func (t Transport) Stream() bool { return t != UDP }

// ByLength tells whether messages end where their Content-Length says (RFC 3261
// section 18.3); else they end with the datagram or the WebSocket message.
func (t Transport) ByLength() bool { return t == TCP || t == TLS }

// Secure tells whether the transport is encrypted.
func (t Transport) Secure() bool { return t == TLS || t == WSS }

// Web tells whether the transport is a WebSocket, which only those who connect to us
// speak.
func (t Transport) Web() bool { return t == WS || t == WSS }

var ports = [...]uint16{UDP: 5060, TCP: 5060, TLS: 5061, WS: 80, WSS: 443}

// Port is what a URI or a Via without a port means, RFC 3261 section 19.1.2 and
// RFC 7118 section 5.
func (t Transport) Port() uint16 { return ports[t] }

// A Trust is what a flow has proved; architecture.md, Trust.
type Trust uint8

// The trust states of a flow.
const (
	Unknown    Trust = iota
	Challenged       // it received what we sent to it
	Trusted          // the registrar accepted its credentials
	Limited          // over its budget, or suspect
)

var trustTexts = [...]string{Unknown: "unknown", Challenged: "challenged", Trusted: "trusted", Limited: "limited"}

// String is the state as rules write it.
func (t Trust) String() string { return trustTexts[t] }

// A Message is one SIP message as it arrived. It is read-only once parsed.
type Message struct {
	At        time.Time
	Src, Dst  netip.AddrPort
	Transport Transport
	Trust     Trust
	Proven    bool   // the source can receive what we send to it
	Inside    bool   // it came from a next hop
	Peer      string // the configured next hop or trunk it came from, "" if none
	Listener  string // name of the listener it came over

	// Index is the message in plain form; valid until the judgement returns.
	Index *index.Message

	// Account is who was authenticated, "user@realm". The engine sets it at stage
	// identity; the proxy keeps it with the transaction and the dialog and sets
	// it again for the stages reply and end.
	Account string

	// Reply is set at stage reply; Index is then the response, Src the source of
	// the request that it answers.
	Reply *Reply
	// Call is set at stage end; Index is then nil.
	Call *Call
}

// A Reply is what a next hop answered to a request.
type Reply struct {
	Status      int
	Took        time.Duration // since the request was forwarded
	Credentials bool          // the request carried credentials
	Stale       bool          // a 401 or 407 that only asks for a fresh nonce
	Target      string        // user part of the request's Request-URI; valid during the call
}

// A Call is what is known of a call when it ends.
type Call struct {
	ID              string // Call-ID
	Account         string // of the caller, "user@realm", "" if it was not authenticated
	From, To        string // user@host
	Dialed          string // user part of the first Request-URI
	Start, End      time.Time
	Answered        time.Time // zero if it was not
	Status          int       // final response to the INVITE
	EndedBy         string    // "caller", "callee", "ringfence" or "timeout"
	FromTag, ToTag  string
	Source, Towards netip.AddrPort
}

// Duration is the time from answer to end, zero if the call was not answered.
func (c *Call) Duration() time.Duration {
	if c.Answered.IsZero() {
		return 0
	}
	return c.End.Sub(c.Answered)
}

// Parse indexes raw as one message. It is what tests, replays and explain use;
// the proxy parses for itself. The message keeps raw.
func Parse(raw []byte, at time.Time, src, dst netip.AddrPort, t Transport) (*Message, error) {
	x := new(index.Message)
	if p := x.Parse(raw, t.Stream(), index.Limits{}); p != "" {
		return nil, p
	}
	return &Message{At: at, Src: src, Dst: dst, Transport: t, Proven: t.Stream(), Index: x}, nil
}

// A Guard is a set of facts, and what it takes to keep them current.
type Guard struct {
	Name  string
	Facts []Fact
	Learn func(*Decision)             // nil if it learns nothing; must not block
	Run   func(context.Context) error // nil if it needs no upkeep; returns when ctx ends
}

// Host is what a guard may use. Fields that a guard does not need may be nil
// in its tests.
type Host struct {
	Log      *slog.Logger
	Now      func() time.Time
	Metrics  prometheus.Registerer
	Store    Store
	Meters   Meters
	Lists    Lists
	Geo      Geo
	Numbers  Numbers
	Accounts Accounts
	Dialogs  Dialogs
}

// A Sink hears of every decision, in order, on the message's way: it must not
// block and must copy what it keeps.
type Sink interface{ Decided(*Decision) }

// A Policy decides at one stage. *rules.Set is the one that matters.
type Policy interface {
	// Version names the rule set, for history and explain.
	Version() string
	// Decide adds to d what matched and returns the verdict of the stage.
	Decide(ctx context.Context, s Stage, f *Facts, d *Decision) Verdict
}
