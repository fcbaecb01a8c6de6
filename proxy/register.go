package proxy

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// register answers a REGISTER here (RFC 3261 section 10.3). Nobody registers
// without credentials, whatever the rules say.
func (p *Proxy) register(w *worker, f wire.Flow, key transaction.Key) {
	if w.msg.Account == "" {
		p.challenge(w, f, key, &guard.Verdict{Action: guard.Challenge})
		return
	}
	token := string(p.appendFlowToken(nil, f))
	a := p.places.Register(context.Background(), &w.msg, w.msg.Account, token)
	p.answer(w, f, key, a.Status, a.Reason, a.Lines)
}

// A registrar is what is known of the one behind us.
type registrar struct {
	path atomic.Uint32 // knowsPath or noPath once it has answered
}

const (
	knowsPath = 1 + iota
	noPath
)

// KnowsPath tells whether the registrar behind us keeps Path (RFC 3327), and
// false for ok until it has answered a registration.
func (p *Proxy) KnowsPath() (knows, ok bool) {
	v := p.registrar.path.Load()
	return v == knowsPath, v != 0
}

// writePath gives a REGISTER the way back to the phone.
func (p *Proxy) writePath(w *worker, m *index.Message, from, to wire.Flow, top uint16) {
	if w.msg.Inside {
		return
	}
	mode := p.c.Register
	if mode == RegisterAuto && p.registrar.path.Load() == noPath {
		mode = RegisterContact
	}
	if mode != RegisterContact {
		at := len(w.text)
		w.text = append(w.text, "Path: <sip:"...)
		w.text = p.appendFlowToken(w.text, from)
		w.text = append(append(append(w.text, '@'), p.listeners[to.Listener].uri...), ";lr>\r\n"...)
		if !m.Has(index.SupportedName, "path") {
			w.text = append(w.text, "Supported: path\r\n"...)
		}
		w.splice.Insert(top, w.from(at))
	}
	if mode != RegisterPath {
		p.writeContacts(w, m, from, to)
	}
}

// writeContacts lets the Contacts of a REGISTER point to us, with a token that
// holds the phone's own URI.
func (p *Proxy) writeContacts(w *worker, m *index.Message, from, to wire.Flow) {
	contacts := m.Addresses(index.ContactName)
	for a, _, ok := contacts.Next(); ok; a, _, ok = contacts.Next() {
		if a.URI.Text.Empty() {
			continue // the * of an unregistration
		}
		at := len(w.text)
		w.text = append(w.text, "<sip:"...)
		if !a.URI.User.Empty() {
			w.text = append(append(w.text, m.Bytes(a.URI.User)...), '@')
		}
		w.text = append(append(w.text, p.listeners[to.Listener].uri...), ";"+contactParam+"="...)
		text, fits := p.appendContactToken(w.text, from, m.Bytes(a.URI.Text))
		if !fits {
			continue
		}
		w.text = append(text, '>')
		uri := w.from(at)
		if a.Angled {
			uri = uri[1 : len(uri)-1]
		}
		w.splice.Replace(a.URI.Text, uri)
	}
}

// restoreContacts gives a phone its own Contacts back in the 2xx to its
// REGISTER, and learns from it whether the registrar keeps Path.
func (p *Proxy) restoreContacts(w *worker, m *index.Message) {
	contacts := m.Addresses(index.ContactName)
	bound := false
	for a, _, ok := contacts.Next(); ok; a, _, ok = contacts.Next() {
		bound = true
		v, ok := m.Param(a.URI.Params, contactParam)
		if !ok || !p.ours(m, a.URI.Host, a.URI.Port) {
			continue
		}
		if t, ok := p.redeem(w, m.Bytes(v)); ok && t.kind == contactToken {
			w.splice.Replace(a.URI.Text, t.uri)
		}
	}
	if !bound || p.c.Register != RegisterAuto || p.registrar.path.Load() != 0 {
		return
	}
	answer := uint32(noPath)
	paths := m.Addresses(index.PathName)
	for a, _, ok := paths.Next(); ok; a, _, ok = paths.Next() {
		if p.ours(m, a.URI.Host, a.URI.Port) {
			answer = knowsPath
		}
	}
	if p.registrar.path.CompareAndSwap(0, answer) {
		p.log.Info("the registrar was asked for Path", "keeps", answer == knowsPath)
	}
}

// graced asks the screen to let a source through that has just been challenged. A
// banned one would lift its own ban by guessing on.
func (p *Proxy) graced(src netip.AddrPort, at time.Time) {
	if p.o.Grace != nil && (p.o.Banned == nil || !p.o.Banned(src, at)) {
		p.o.Grace(src, at.Add(challengeGrace))
	}
}

// retryAfterOf is the Retry-After of a response, 0 if it names none.
func (p *Proxy) retryAfterOf(m *index.Message) time.Duration {
	text := m.Text(m.Value(index.RetryAfterName))
	n := 0
	for _, c := range []byte(strings.TrimSpace(text)) {
		if c < '0' || c > '9' || n > 1<<20 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return time.Duration(n) * time.Second
}
