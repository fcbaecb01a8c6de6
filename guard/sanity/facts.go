package sanity

import (
	"strconv"
	"strings"

	"ringfence/guard"
	"ringfence/proxy/index"
)

// messageFacts are what the message says. At stage reply the message is the
// response; at stage end there is none, and what is known of the call answers.
func (k *checker) messageFacts() []guard.Fact {
	return []guard.Fact{
		know("sip.method", guard.String, "The method; of a response that of its request. An unknown one as written.", func(m *guard.Message) guard.Value {
			switch {
			case m.Index == nil && m.Call != nil:
				return guard.Text(index.Invite.String())
			case m.Index == nil:
				return guard.Text("")
			case m.Index.Method == index.MethodOther && m.Index.Request:
				return guard.Text(m.Index.Text(m.Index.MethodText))
			case m.Index.Method == index.MethodOther:
				return guard.Text(m.Index.Text(m.Index.CSeqMethod))
			}
			return guard.Text(m.Index.Method.String())
		}),
		know("sip.new_call", guard.Bool, "Whether the message is an INVITE outside a dialog: it has no To tag.", func(m *guard.Message) guard.Value {
			x := m.Index
			return guard.Truth(x != nil && x.Request && x.Method == index.Invite && !x.InDialog())
		}),
		know("sip.in_dialog", guard.Bool, "Whether the message has a To tag; see dialog.known for whether that dialog exists.", func(m *guard.Message) guard.Value {
			return guard.Truth(m.Index != nil && m.Index.InDialog())
		}),
		know("sip.uri_user", guard.String, "The user part of the Request-URI with escapes undone; the number of a tel URI.", func(m *guard.Message) guard.Value {
			switch {
			case m.Index != nil:
				return user(m.Index, m.Index.URI)
			case m.Call != nil:
				return guard.Text(m.Call.Dialed)
			}
			return guard.Text("")
		}),
		know("sip.uri_host", guard.String, "The host of the Request-URI as written, IPv6 in brackets.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Text("")
			}
			return guard.Text(m.Index.Text(m.Index.URI.Host))
		}),
		know("sip.from_user", guard.String, "The user part of the From URI with escapes undone.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				u, _ := party(m, false)
				return guard.Text(u)
			}
			return user(m.Index, m.Index.From.URI)
		}),
		know("sip.from_host", guard.String, "The host of the From URI as written.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				_, h := party(m, false)
				return guard.Text(h)
			}
			return guard.Text(m.Index.Text(m.Index.From.URI.Host))
		}),
		know("sip.to_user", guard.String, "The user part of the To URI with escapes undone.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				u, _ := party(m, true)
				return guard.Text(u)
			}
			return user(m.Index, m.Index.To.URI)
		}),
		know("sip.to_host", guard.String, "The host of the To URI as written.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				_, h := party(m, true)
				return guard.Text(h)
			}
			return guard.Text(m.Index.Text(m.Index.To.URI.Host))
		}),
		know("sip.call_id", guard.String, "The Call-ID.", func(m *guard.Message) guard.Value {
			switch {
			case m.Index != nil:
				return guard.Text(m.Index.Text(m.Index.CallID))
			case m.Call != nil:
				return guard.Text(m.Call.ID)
			}
			return guard.Text("")
		}),
		know("sip.user_agent", guard.String, "The User-Agent header, or empty.", header(index.UserAgentName)),
		know("sip.problem", guard.String, "The name of the first thing that is wrong with a request beyond its grammar, or empty; the README lists the names.", func(m *guard.Message) guard.Value {
			return guard.Text(string(k.problem(m)))
		}),
		know("sip.ours", guard.Bool, "Whether the Request-URI names one of our domains or the address it came to; true if no domain is configured, and for tel and urn.", func(m *guard.Message) guard.Value {
			x := m.Index
			return guard.Truth(x == nil || !x.Request || x.URI.Host.Empty() || k.ours(x.Text(x.URI.Host), m.Dst.Addr()))
		}),
		know("sip.repaired", guard.Bool, "Whether the message was put into plain form before it was judged: folded lines, compact names, octets after the body.", func(m *guard.Message) guard.Value {
			return guard.Truth(m.Index != nil && m.Index.Repairs.Any())
		}),
		know("sip.content_type", guard.String, "The Content-Type as written, or empty.", header(index.ContentTypeName)),
		know("sip.contact_host", guard.String, "The host of the first Contact as written, or empty.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Text("")
			}
			return guard.Text(m.Index.Text(m.Index.Contact.URI.Host))
		}),
		know("sip.expires", guard.Int, "The lifetime asked for in seconds: the first Contact's expires parameter, else the Expires header (RFC 3261 section 10.2.1.1), -1 if there is neither.", func(m *guard.Message) guard.Value {
			return guard.Integer(expires(m.Index))
		}),
		know("sip.refer_to_user", guard.String, "The user part of the Refer-To URI, where a REFER wants a call to go, or empty.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Text("")
			}
			target := m.Index.Addresses(index.ReferToName)
			to, _, _ := target.Next()
			return user(m.Index, to.URI)
		}),
		know("sip.event", guard.String, "The event package of SUBSCRIBE, NOTIFY and PUBLISH without its parameters, or empty.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Text("")
			}
			event, _, _ := strings.Cut(m.Index.Text(m.Index.Value(index.EventName)), ";")
			return guard.Text(strings.TrimRight(event, " \t"))
		}),
		know("sip.vias", guard.Int, "The number of Via values.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Integer(0)
			}
			return guard.Integer(int64(m.Index.Vias))
		}),
		know("sip.size", guard.Int, "The size of the message in bytes, in plain form.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Integer(0)
			}
			return guard.Integer(int64(len(m.Index.Raw())))
		}),
		know("sip.headers", guard.Int, "The number of header lines.", func(m *guard.Message) guard.Value {
			if m.Index == nil {
				return guard.Integer(0)
			}
			return guard.Integer(int64(len(m.Index.Headers())))
		}),
		know("msg.time", guard.Time, "When the message arrived.", func(m *guard.Message) guard.Value { return guard.Instant(m.At) }),
	}
}

func header(n index.Name) func(*guard.Message) guard.Value {
	return func(m *guard.Message) guard.Value {
		if m.Index == nil {
			return guard.Text("")
		}
		return guard.Text(m.Index.Text(m.Index.Value(n)))
	}
}

func user(x *index.Message, u index.URI) guard.Value { return guard.Text(unescape(x.Text(u.User))) }

// party gives user and host of one side of a call that ended.
func party(m *guard.Message, called bool) (user, host string) {
	if m.Call == nil {
		return "", ""
	}
	text := m.Call.From
	if called {
		text = m.Call.To
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return text[:i], text[i+1:]
	}
	return "", text
}

func expires(x *index.Message) int64 {
	if x == nil {
		return -1
	}
	if value, found := x.Param(x.Contact.Params, "expires"); found {
		if n, ok := x.Number(value); ok {
			return int64(n)
		}
	}
	return int64(x.Expires)
}

// unescape undoes %XX (RFC 3261 section 19.1.2). Text without any stays as it
// is and costs nothing.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
