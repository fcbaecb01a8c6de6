package dialog

import (
	"iter"
	"time"

	"ringfence/guard"
)

// A call that was read back from the store may have ended while nobody listened,
// and would count for its account until its longest length. When its sides refresh
// it (RFC 4028), time tells. Any other is in doubt until somebody was heard of it:
// the proxy asks one of its sides.

// silences is how often in a row a side that is asked may say nothing before its
// call counts as over (RFC 3261 section 12.2.1.2).
const silences = 3

// Doubtful are the calls that are in doubt, in no order. A shard's calls are
// copied before they are yielded, so that yield may take its time.
func (t *Table) Doubtful() iter.Seq[Call] {
	return t.those(func(c *call) bool { return c.doubtful && c.state == Answered })
}

// Asked takes what came of asking a side of a call in doubt whether its dialog is
// there: the status of the final response, 408 for none. It returns the call if
// that ended it. A 503 says nothing about the dialog, and is no silence either.
func (t *Table) Asked(callID, fromTag string, status int, at time.Time) (guard.Call, bool) {
	s := t.shard([]byte(callID))
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find([]byte(callID), []byte(fromTag))
	if c == nil || c.state != Answered || !c.doubtful {
		return guard.Call{}, false
	}
	switch status {
	case 503:
		return guard.Call{}, false
	case 408:
		if c.silent++; c.silent < silences {
			return guard.Call{}, false
		}
	case 481:
	default:
		c.doubtful = false
		return guard.Call{}, false
	}
	return t.end(c, "timeout", at), true
}
