package bpf

import (
	"net/netip"
	"time"
)

const (
	protocolTCP = 6
	protocolUDP = 17

	keepaliveMax = 4  // nothing this short is a SIP message
	head         = 16 // enough for every method and its space
	line         = 48 // enough for INVITE and an emergency Request-URI
)

// A packet is what the screen knows of one.
type packet struct {
	from     screenSource
	addr     netip.Addr
	payload  []byte
	frame    int // octets
	room     int // octets that the IP header promises after itself
	protocol uint8
	v6       bool
	more     bool // first fragment of several
	later    bool // a fragment without ports
	syn      bool
	lies     bool // lengths that cannot be
}

// Verdict judges a whole Ethernet frame for the ports given to Ports.
func (s *Soft) Verdict(frame []byte, now time.Time) Action {
	return s.inspect(frame, now).Action()
}

func (s *Soft) inspect(frame []byte, now time.Time) Reason {
	p, ok := s.dissect(frame)
	if !ok {
		return Unguarded
	}
	return s.judge(&p, wall(now))
}

// Datagram judges the payload of a datagram that came to one of our sockets.
func (s *Soft) Datagram(src, _ netip.AddrPort, payload []byte, at time.Time) bool {
	p := packet{protocol: protocolUDP, payload: payload, frame: len(payload)}
	return s.arrived(&p, src, at)
}

// Connection judges a TCP connection before it is accepted.
func (s *Soft) Connection(src, _ netip.AddrPort, at time.Time) bool {
	p := packet{protocol: protocolTCP, syn: true}
	return s.arrived(&p, src, at)
}

// Banned tells whether a source is banned, not limited, and not allowed: for what
// no packet filter sees, such as messages of a connection that is up.
func (s *Soft) Banned(src netip.AddrPort, at time.Time) bool {
	addr, now := src.Addr().Unmap().WithZone(""), wall(at)
	holds := func(b *softBan) bool { return b != nil && b.until > now && b.flags&banLimit == 0 }
	key := sourceOf(addr, src.Port())
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.allow.Contains(addr) {
		return false
	}
	if holds(s.bans[key]) {
		return true
	}
	if key.Port = 0; holds(s.bans[key]) || addr.Is6() && holds(s.bans[site(key, true)]) {
		return true
	}
	b, _ := s.deny.Lookup(addr)
	return holds(b)
}

func (s *Soft) arrived(p *packet, src netip.AddrPort, at time.Time) bool {
	p.addr = src.Addr().Unmap().WithZone("")
	p.v6 = p.addr.Is6()
	p.from = sourceOf(p.addr, src.Port())
	return s.judge(p, wall(at)).Action() == Pass
}

func (s *Soft) judge(p *packet, now uint64) Reason {
	why := s.decide(p, now)
	s.counts[why].packets.Add(1)
	s.counts[why].bytes.Add(uint64(p.frame))
	return why
}

func (s *Soft) decide(p *packet, now uint64) Reason {
	o := s.options.Load()
	if p.lies {
		return Malformed
	}
	if why := s.listed(p, now, o); why != Unguarded {
		return why
	}
	if p.later {
		if o.Flags&dropFragments != 0 {
			return Fragment
		}
		return LaterFragment
	}
	if beat := s.beat.Load(); o.Flags&failClosed != 0 && now > beat && now-beat > o.Stale {
		return Static
	}
	if p.protocol == protocolTCP {
		if !p.syn {
			return Passed
		}
		return s.rate(p, now, o, syns)
	}
	if len(p.payload) <= keepaliveMax {
		if o.Flags&passKeepalives == 0 {
			return Keepalive
		}
	} else if !method(p.payload) {
		return NotSIP
	}
	return s.rate(p, now, o, messages)
}

// listed decides by what is known of the source; Unguarded is nothing.
func (s *Soft) listed(p *packet, now uint64, o *screenOptions) Reason {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var flow *softFlow
	if !p.later {
		flow = s.flows[p.from]
	}
	if flow != nil && flow.grace.Load() > now {
		return Graced
	}
	if s.allow.Contains(p.addr) {
		return Allowed
	}
	if flow != nil && flow.trusted.Load() > now {
		if p.protocol == protocolTCP || s.config.BansOnly || conform(&flow.next, now, o.Trusted) {
			return Trusted
		}
		return TrustedRate
	}
	if p.protocol == protocolUDP && !p.later && s.emergency(p.payload) && s.lane(p, now, o) {
		return Emergency
	}
	if why := s.banned(p, now, o); why != Unguarded {
		return why
	}
	b, _ := s.deny.Lookup(p.addr)
	if b != nil && b.flags&banOperator != 0 {
		return s.held(b, now, o, Denied)
	}
	return s.held(b, now, o, Banned)
}

func (s *Soft) banned(p *packet, now uint64, o *screenOptions) Reason {
	key := p.from
	if !p.later {
		if why := s.held(s.bans[key], now, o, Banned); why != Unguarded {
			return why
		}
	}
	key.Port = 0
	if why := s.held(s.bans[key], now, o, Banned); why != Unguarded || !p.v6 {
		return why
	}
	return s.held(s.bans[site(key, true)], now, o, Banned)
}

// held returns what a ban does to a packet; Unguarded is nothing.
func (s *Soft) held(b *softBan, now uint64, o *screenOptions, why Reason) Reason {
	if b == nil || b.until <= now {
		return Unguarded
	}
	if b.flags&banLimit == 0 {
		return why
	}
	if conform(&b.next, now, s.behind(o.Trickle)) {
		return Trickle
	}
	return Limited
}

// behind is the rate for what XDP has paced already: a packet that it let pass
// may come up to half an interval early here, because the way up is not even.
func (s *Soft) behind(r screenRate) screenRate {
	if s.config.BansOnly {
		r.Ahead += r.Every / 2
	}
	return r
}

// lane tells whether an emergency call may pass whatever is held against its
// source: one in a while from each, and a budget over all.
func (s *Soft) lane(p *packet, now uint64, o *screenOptions) bool {
	within, _ := s.lanes.conform(site(p.from, p.v6), now, s.behind(o.Lane), &s.laneBudget, o.Lanes)
	return within
}

func (s *Soft) rate(p *packet, now uint64, o *screenOptions, kind uint8) Reason {
	r, over := o.Source, SourceRate
	if kind == syns {
		r, over = o.Syn, SynRate
	}
	if s.config.BansOnly || r.Every == 0 {
		return Passed
	}
	key := site(p.from, p.v6)
	key.Kind = kind
	switch within, known := s.rates.conform(key, now, r, &s.arrival, o.Arrival); {
	case within:
		return Passed
	case known:
		return over
	}
	return NewSource
}
