package wire

import "time"

// A patience tells until when a connection may take to send more. Sockets go by
// the machine's clock, and so do its times.
type patience struct {
	limits  *Limits
	first   time.Time // when the first message must be whole; zero once it is
	heard   time.Time // when the last frame came, or the connection
	message time.Time // when the last message came; zero before
	asks    bool      // a far end that is silent is asked whether it is there
	asked   time.Time // when it was; zero once something has come since
	begun   time.Time // when the message at hand began, whatever came of it; zero between messages
}

// newPatience is that of a connection of ours, which need not send at all, or of
// one accepted now. The far end of a WebSocket answers pings.
func newPatience(limits *Limits, ours, web bool, now time.Time) patience {
	p := patience{limits: limits, heard: now, asks: web}
	if !ours {
		p.first = now.Add(limits.FirstMessage)
	}
	return p
}

// frame tells that one has come. Keep-alives are life, but no first message.
func (p *patience) frame(kind frame, now time.Time) {
	p.heard, p.begun, p.asked = now, time.Time{}, time.Time{}
	if kind == frameMessage {
		p.first, p.message = time.Time{}, now
	}
}

// alive tells that a frame has come which does not end the message at hand.
func (p *patience) alive(now time.Time) {
	p.heard, p.asked = now, time.Time{}
	if p.begun.IsZero() {
		p.begun = now
	}
}

// unheard tells that the first message is still to come.
func (p *patience) unheard() bool { return !p.first.IsZero() }

// ask tells whether the far end is to be asked now, and notes that it is.
func (p *patience) ask(now time.Time) bool {
	if !p.asks || !p.asked.IsZero() || p.unheard() || !now.Before(p.heard.Add(p.limits.Idle)) {
		return false
	}
	p.asked = now
	return true
}

// deadline is when to give up or to ask, given whether part of a message is there.
func (p *patience) deadline(part bool, now time.Time) time.Time {
	by := p.heard.Add(p.limits.Idle)
	switch {
	case part:
		if p.begun.IsZero() {
			p.begun = now
		}
		by = p.begun.Add(p.limits.Partial)
	case !p.asked.IsZero():
		by = earlier(by, p.asked.Add(p.limits.Pong))
	case p.asks:
		by = earlier(by, p.heard.Add(p.limits.Ping))
	}
	if p.unheard() && (p.first.Before(by) || !part) {
		by = p.first
	}
	return by
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
