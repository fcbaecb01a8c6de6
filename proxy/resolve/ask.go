package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// datagram is the longest answer over UDP that we ask for: what passes unbroken
// everywhere (DNS flag day 2020). A longer one comes over TCP.
const datagram = 1232

// ask asks the servers, one after the other and then again, until one says what
// records there are or that there are none.
func (r *Resolver) ask(ctx context.Context, q question) (records, error) {
	found, left, ttl := records{}, r.o.Chain, ^uint32(0)
	for {
		m, err := r.round(ctx, q)
		if err != nil {
			return records{}, err
		}
		alias, least := found.read(m, q, &left)
		ttl = min(ttl, least)
		if left < 0 {
			return records{}, fmt.Errorf("%w: %s: more than %d aliases", ErrSilent, q, r.o.Chain)
		}
		if _, none := negative(m); none || alias == "" || m.Rcode == dns.RcodeNameError || !hostname(alias) {
			return r.date(found, m, ttl)
		}
		q.name = alias // the server does not follow aliases itself
	}
}

// date says until when an answer holds.
func (r *Resolver) date(found records, m *dns.Msg, ttl uint32) (records, error) {
	most, err := r.o.MaxTTL, error(nil)
	if found.empty() {
		found.absent = m.Rcode == dns.RcodeNameError
		most, err = r.o.Negative, ErrNotFound
		least, ok := negative(m)
		if !ok {
			least = 0 // it is not to be remembered, RFC 2308 section 5: as short as may be
		}
		ttl = min(ttl, least)
	}
	lasts := min(max(time.Duration(ttl)*time.Second, r.o.MinTTL), most)
	found.until = r.o.Now().Add(lasts)
	return found, err
}

// round asks every server once or more.
func (r *Resolver) round(ctx context.Context, q question) (*dns.Msg, error) {
	select {
	case r.room <- struct{}{}:
		defer func() { <-r.room }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: too many questions are under way", ErrSilent, q)
	}
	servers := r.system.read(r.o.Now()).servers
	if len(servers) == 0 {
		return nil, fmt.Errorf("%w: none is configured", ErrSilent)
	}
	var last error
	for range r.o.Attempts {
		first := int(r.system.first.Load())
		for i := range servers {
			n := (first + i) % len(servers)
			m, err := r.server(ctx, servers[n], q)
			if err == nil {
				r.system.first.Store(int32(n))
				return m, nil
			}
			last = err
			if ctx.Err() != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrSilent, q, last)
			}
		}
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrSilent, q, last)
}

// server asks one server. What it cannot do without extensions it is asked
// without them.
func (r *Resolver) server(ctx context.Context, server netip.AddrPort, q question) (*dns.Msg, error) {
	m, err := r.exchange(ctx, server, q, true)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) {
		m, err = r.exchange(ctx, server, q, false)
	}
	if err == nil {
		switch {
		case m.Rcode == dns.RcodeSuccess, m.Rcode == dns.RcodeNameError:
			return m, nil
		case m.Rcode == dns.RcodeNotImplemented && q.kind == typeNAPTR:
			return new(dns.Msg), nil // an old forwarder that knows no NAPTR: there are none
		}
		err = fmt.Errorf("%s says %s", server, dns.RcodeToString[m.Rcode])
	}
	r.count(func(c *Counts) { c.Failed++ })
	r.o.Log.Debug("a DNS server did not answer", "server", server, "question", q.String(), "err", err)
	return nil, err
}

// exchange sends a question over UDP, and over TCP if the answer is too long.
func (r *Resolver) exchange(ctx context.Context, server netip.AddrPort, q question, extended bool) (*dns.Msg, error) {
	m, err := r.talk(ctx, "udp", server, q, extended)
	if err == nil && m.Truncated {
		r.count(func(c *Counts) { c.TCP++ })
		m, err = r.talk(ctx, "tcp", server, q, extended)
	}
	return m, err
}

// talk sends a question and waits for its answer. The kernel chooses the port
// and the library the identifier, both at random.
func (r *Resolver) talk(ctx context.Context, network string, server netip.AddrPort, q question, extended bool) (*dns.Msg, error) {
	r.count(func(c *Counts) { c.Asked++ })
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	d := net.Dialer{}
	n, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer n.Close()
	stop := context.AfterFunc(ctx, func() { _ = n.SetDeadline(time.Unix(1, 0)) }) // wakes who reads
	defer stop()
	c := dns.Conn{Conn: n}
	question := new(dns.Msg).SetQuestion(dns.Fqdn(q.name), q.kind)
	if extended {
		question.SetEdns0(datagram, false)
	}
	if err := c.WriteMsg(question); err != nil {
		return nil, err
	}
	b := make([]byte, r.o.Bytes)
	for {
		size, err := c.Read(b)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		if err = m.Unpack(b[:size]); err == nil {
			err = answers(m, question, r.o.Records)
		}
		if err == nil {
			return m, nil
		}
		if network == "tcp" {
			return nil, fmt.Errorf("%s: %w", server, err)
		}
		// Over UDP anybody may have sent it: the real one may yet come.
	}
}

// answers tells whether a message is the answer to a question.
func answers(m, to *dns.Msg, most int) error {
	switch {
	case !m.Response || m.Id != to.Id || m.Opcode != dns.OpcodeQuery:
		return errors.New("no answer to the question")
	case len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess:
		return nil // some refuse without repeating the question
	case len(m.Question) != 1 || m.Question[0].Qtype != to.Question[0].Qtype || canonical(m.Question[0].Name) != canonical(to.Question[0].Name):
		return errors.New("an answer to another question")
	case len(m.Answer)+len(m.Ns)+len(m.Extra) > most:
		return fmt.Errorf("an answer with more than %d records", most)
	}
	return nil
}

func (r *Resolver) count(add func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.counts)
}
