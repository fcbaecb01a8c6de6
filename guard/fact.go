package guard

import (
	"context"
	"net/netip"
	"time"
)

// A Type is the type of a fact.
type Type uint8

// The types, with the CEL type that a rule sees.
const (
	String   Type = iota // string
	Int                  // int
	Bool                 // bool
	IP                   // ip: compares with in, == and text
	Time                 // timestamp
	Duration             // duration
	Strings              // list(string)
	Float                // double
)

var typeTexts = [...]string{"string", "int", "bool", "ip", "time", "duration", "list of strings", "float"}

// String names the type for people.
func (t Type) String() string { return typeTexts[t] }

// A Cost says what it takes to have a fact.
type Cost uint8

// The costs, cheapest first.
const (
	Free Cost = iota
	Memory
	Disk
	Crypto
	Network
)

var costTexts = [...]string{"free", "memory", "disk", "crypto", "network"}

// String names the cost for people.
func (c Cost) String() string { return costTexts[c] }

// A Fact is something that can be asked about a message.
type Fact struct {
	Name  string   // "auth.user"
	Type  Type     // what Get returns
	Stage Stage    // the first stage at which it can be known
	Cost  Cost     // what it takes
	Doc   string   // one sentence; becomes docs/facts.md and the editor's hover text
	Needs []string // the facts Get asks for; asking for another is an error
	Get   func(context.Context, *Facts) (Value, error)
}

// A Value is the value of a fact. It is a struct and not an any, so that having
// a fact costs no allocation. Strings may alias the message: clone to keep.
type Value struct {
	Type Type
	str  string
	num  int64 // Int, Bool, Time (Unix ns), Duration
	flt  float64
	ip   netip.Addr
	list []string
}

// Text makes a String value.
func Text(s string) Value { return Value{Type: String, str: s} }

// Integer makes an Int value.
func Integer(n int64) Value { return Value{Type: Int, num: n} }

// Truth makes a Bool value.
func Truth(b bool) Value {
	v := Value{Type: Bool}
	if b {
		v.num = 1
	}
	return v
}

// Address makes an IP value.
func Address(a netip.Addr) Value { return Value{Type: IP, ip: a} }

// Instant makes a Time value.
func Instant(t time.Time) Value { return Value{Type: Time, num: t.UnixNano()} }

// Span makes a Duration value.
func Span(d time.Duration) Value { return Value{Type: Duration, num: int64(d)} }

// List makes a Strings value; it keeps l.
func List(l []string) Value { return Value{Type: Strings, list: l} }

// Real makes a Float value.
func Real(f float64) Value { return Value{Type: Float, flt: f} }

// Str is the string of a String value.
func (v Value) Str() string { return v.str }

// Int is the number of an Int value.
func (v Value) Int() int64 { return v.num }

// True is the truth of a Bool value.
func (v Value) True() bool { return v.num != 0 }

// IP is the address of an IP value.
func (v Value) IP() netip.Addr { return v.ip }

// Time is the instant of a Time value, in UTC.
func (v Value) Time() time.Time { return time.Unix(0, v.num).UTC() }

// Duration is the length of a Duration value.
func (v Value) Duration() time.Duration { return time.Duration(v.num) }

// Strings is the list of a Strings value.
func (v Value) Strings() []string { return v.list }

// Float is the number of a Float value.
func (v Value) Float() float64 { return v.flt }
