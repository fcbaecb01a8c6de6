package dialog

import (
	"ringfence/guard"
	"ringfence/proxy/index"
)

// Help notes that an INVITE whose call has begun is a call for help. Whoever makes
// one needs to prove nothing, and so such a call proves nothing.
func (t *Table) Help(x *index.Message) {
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.find(x.Bytes(x.CallID), x.Bytes(x.From.Tag)); c != nil {
		c.urgent = true
	}
}

// Urgent tells whether a request belongs to a call for help, and comes from one of
// its sides.
func (t *Table) Urgent(m *guard.Message) bool {
	x := m.Index
	if !x.InDialog() {
		return false
	}
	s := t.shard(x.Bytes(x.CallID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, _ := s.belongs(x)
	return c != nil && c.urgent && sender.at(m) && keeps(x.Method)
}

// keeps tells the methods that keep a call going or end it, and begin nothing.
func keeps(m index.Method) bool {
	switch m {
	case index.Ack, index.Bye, index.Invite, index.Update, index.Prack, index.Info:
		return true
	}
	return false
}
