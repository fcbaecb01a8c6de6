package proxy

import (
	"time"

	"ringfence/proxy/index"
	"ringfence/proxy/wire"
)

// A screen lets a banned source through that may be calling for help, and it sees
// nothing of what comes over a connection that is up. So each message from outside
// is held against the bans once more: what passes is the call for help itself.

// barred tells whether a request is of a banned source and no part of a call for
// help.
func (p *Proxy) barred(w *worker, f wire.Flow, at time.Time) bool {
	if p.o.Banned == nil || w.msg.Inside || !p.o.Banned(f.Remote, at) {
		return false
	}
	if p.calling(&w.msg) || p.calls.Urgent(&w.msg) || p.listeners[f.Listener].Stateless && goesOn(&w.in) {
		return false
	}
	p.metrics.drop(banned)
	return true
}

// goesOn tells whether a request can only be part of a call that is up. Where no
// calls are kept, that is all there is to know of a call for help.
func goesOn(m *index.Message) bool {
	switch m.Method {
	case index.Ack, index.Bye, index.Prack:
		return m.InDialog()
	case index.Cancel:
		return true
	}
	return false
}
