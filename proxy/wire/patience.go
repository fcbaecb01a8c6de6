package wire

import "time"

// A patience tells until when a connection may take to send more. Sockets go by
// the machine's clock, and so do its times.
type patience struct {
	limits  *Limits
	first   time.Time // when the first message must be whole; zero once it is
	heard   time.Time // when the last frame came, or the connection
	message time.Time // when the last message came; zero before
	begun   time.Time // when the message at hand began, whatever came of it; zero between messages
}

// newPatience is that of a connection of ours, which need not send at all, or of
// one accepted now.
func newPatience(limits *Limits, ours bool, now time.Time) patience {
	p := patience{limits: limits, heard: now}
	if !ours {
		p.first = now.Add(limits.FirstMessage)
	}
	return p
}

// frame tells that one has come. Keep-alives are life, but no first message.
func (p *patience) frame(kind frame, now time.Time) {
	p.heard, p.begun = now, time.Time{}
	if kind == frameMessage {
		p.first, p.message = time.Time{}, now
	}
}

// alive tells that a frame has come which does not end the message at hand.
func (p *patience) alive(now time.Time) {
	p.heard = now
	if p.begun.IsZero() {
		p.begun = now
	}
}

// unheard tells that the first message is still to come.
func (p *patience) unheard() bool { return !p.first.IsZero() }

// deadline is when to give up, given whether part of a message is there.
func (p *patience) deadline(part bool, now time.Time) time.Time {
	by := p.heard.Add(p.limits.Idle)
	if part {
		if p.begun.IsZero() {
			p.begun = now
		}
		by = p.begun.Add(p.limits.Partial)
	}
	if p.unheard() && (p.first.Before(by) || !part) {
		by = p.first
	}
	return by
}
