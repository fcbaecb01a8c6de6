package dialog

import "ringfence/proxy/index"

// Target finds what a request within a dialog from outside is for: both tags must be
// of a call, and it is for the Contact of the other side, which is all that a token
// of ours in its Route was given for (RFC 3261 section 12.2). target is that Contact
// if the Request-URI means somebody else. Not known: there is no such call, or none
// whose forks are known.
func (t *Table) Target(x *index.Message) (target string, known, fits bool) {
	id := x.Bytes(x.CallID)
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, sender, callee := s.belongs(x)
	if c == nil {
		for _, tag := range [...][]byte{x.Bytes(x.From.Tag), x.Bytes(x.To.Tag)} {
			if c = s.find(id, tag); c != nil {
				return "", len(c.callees) > 0 && len(c.callees) < t.o.Forks, false
			}
		}
		return "", false, false
	}
	other := &c.caller
	if sender == other {
		other = callee
	}
	if other.target == "" || sameTarget(x, other.target) {
		return "", true, true
	}
	return other.target, true, true
}

// sameTarget compares user and host: phones leave out ports and parameters, and
// those change nothing of who is meant.
func sameTarget(x *index.Message, target string) bool {
	if string(x.Bytes(x.URI.Text)) == target {
		return true
	}
	var o index.Message
	if o.ParseURI([]byte(target)) != "" {
		return false
	}
	return x.Is(x.URI.Host, o.Text(o.URI.Host)) && string(x.AppendUnescaped(nil, x.URI.User)) == string(o.AppendUnescaped(nil, o.URI.User))
}
