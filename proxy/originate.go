package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"ringfence/proxy/index"
	"ringfence/proxy/route"
	"ringfence/proxy/transaction"
	"ringfence/proxy/wire"
)

// An origin waits for the answer to a request of our own.
type origin struct {
	once sync.Once
	done func(status int) // nil: nobody asks
}

// answered takes the final response; the context is locked.
func (o *origin) answered(_ *worker, _ *reqContext, status int) {
	o.once.Do(func() {
		if o.done != nil {
			o.done(status)
		}
	})
}

// over tells that no answer will come any more.
func (o *origin) over() { o.answered(nil, nil, 408) }

// outgoing is a request of our own. Addresses stand with angle brackets.
type outgoing struct {
	method, uri, from, fromTag, to, toTag string
	callID                                string
	cseq                                  uint32
	route, reason                         string
}

// originate sends a request of our own in a client transaction; done, which must
// not block, is told the status of its final response: 408 for none, 503 if it
// could not be sent now. An error tells that it cannot be written at all. No
// transaction may be locked.
func (p *Proxy) originate(w *worker, f wire.Flow, o *outgoing, done func(int)) error {
	c, _, err := p.table.Begin(transaction.Key{}, netip.Addr{}, p.now())
	if err != nil {
		if done != nil {
			done(503)
		}
		return nil
	}
	defer c.Unlock()
	c.Data = exchange{origin: &origin{done: done}, method: methodOf(o.method)}
	i, _ := c.Add()
	branch := w.branch.Append(nil, c.ID(i), 0)
	msg, err := p.build(f, o, branch)
	if err != nil {
		c.Drop(i)
		return err
	}
	if err := c.Forward(w.number, i, f, false, f.Transport.Stream(), msg); err != nil {
		c.Data.origin.answered(w, c, 503)
	}
	return nil
}

// originateOrSay is originate of a request whose answer nobody waits for.
func (p *Proxy) originateOrSay(w *worker, f wire.Flow, o *outgoing) {
	if err := p.originate(w, f, o, nil); err != nil {
		p.log.Warn("a request of ours cannot be written", "method", o.method, "err", err)
	}
}

func methodOf(text string) index.Method {
	switch text {
	case "BYE":
		return index.Bye
	case "OPTIONS":
		return index.Options
	}
	return index.MethodOther
}

// build writes a request. sipgo's message types check what goes into it.
func (p *Proxy) build(f wire.Flow, o *outgoing, branch []byte) ([]byte, error) {
	var uri sip.Uri
	if err := sip.ParseUri(o.uri, &uri); err != nil {
		return nil, fmt.Errorf("request-uri: %w", err)
	}
	for _, s := range []string{o.from, o.fromTag, o.to, o.toTag, o.callID, o.route, o.reason} {
		if strings.ContainsAny(s, "\r\n\x00") {
			return nil, errors.New("a line end within a value")
		}
	}
	req := sip.NewRequest(sip.RequestMethod(o.method), uri)
	via, _ := strings.CutPrefix(string(p.listeners[f.Listener].via), "Via: ")
	add := func(name, value string) { req.AppendHeader(sip.NewHeader(name, value)) }
	add("Via", via+string(branch))
	if o.route != "" {
		add("Route", o.route)
	}
	add("Max-Forwards", "70")
	add("From", tagged(o.from, o.fromTag))
	add("To", tagged(o.to, o.toTag))
	add("Call-ID", o.callID)
	add("CSeq", strconv.FormatUint(uint64(o.cseq), 10)+" "+o.method)
	if o.reason != "" {
		add("Reason", `SIP;cause=503;text="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(o.reason)+`"`)
	}
	add("Content-Length", "0")
	return []byte(req.String()), nil
}

func tagged(address, tag string) string {
	if tag == "" {
		return address
	}
	return address + ";tag=" + tag
}

// bare takes the angle brackets off a URI.
func bare(uri string) string {
	if _, rest, ok := strings.Cut(uri, "<"); ok {
		uri, _, _ = strings.Cut(rest, ">")
	}
	return uri
}

// orphan acknowledges and hangs up a call that was answered after its caller had
// got another answer; the 2xx is in w.in and the context is locked.
func (p *Proxy) orphan(w *worker, c *reqContext, i int) {
	m, x, f := &w.in, &c.Data, c.Clients[i].Flow
	p.metrics.drop(orphaned)
	target := string(m.Bytes(m.Contact.URI.Text))
	if target == "" {
		return
	}
	o := outgoing{
		method: "ACK", uri: target, from: addressOf(m, &m.From), fromTag: string(m.Bytes(m.From.Tag)),
		to: addressOf(m, &m.To), toTag: string(m.Bytes(m.To.Tag)), callID: string(m.Bytes(m.CallID)),
		cseq: m.CSeq, route: p.routeSet(m),
	}
	branch := w.branch.Append(nil, transaction.ID{Slot: ^uint32(0), Generation: ^uint32(0)}, uint64(m.CSeq))
	msg, err := p.build(f, &o, branch)
	if err != nil {
		return // a 2xx that cannot be acknowledged ends by itself
	}
	_ = p.transmit(w.number, f, msg) // the 2xx comes again
	if x.orphaned {
		return
	}
	x.orphaned = true
	o.method, o.cseq, o.reason = "BYE", m.CSeq+1, "answered too late"
	w.later = append(w.later, func() { p.originateOrSay(w, f, &o) })
}

// addressOf is the URI of an address in angle brackets.
func addressOf(m *index.Message, a *index.Address) string {
	return "<" + string(m.Bytes(a.URI.Text)) + ">"
}

// routeSet is the route set that a 2xx gives to its caller, as seen from us:
// what was recorded behind us, nearest first (RFC 3261 section 12.1.2).
func (p *Proxy) routeSet(m *index.Message) string {
	var set []string
	all := m.Addresses(index.RecordRouteName)
	for a, _, ok := all.Next(); ok; a, _, ok = all.Next() {
		if p.ours(m, a.URI.Host, a.URI.Port) {
			break
		}
		set = append([]string{string(m.Bytes(a.Text))}, set...)
	}
	return strings.Join(set, ", ")
}

// A prober asks next hops whether they live.
type prober struct{ p *Proxy }

// Probe sends one OPTIONS to a hop and returns the status of the answer.
func (b prober) Probe(ctx context.Context, h *route.Hop) (int, error) {
	p := b.p
	n, ok := p.pick(h.Transport, h.Address.Addr(), 0)
	if !ok {
		return 0, fmt.Errorf("no listener speaks %s", h.Transport)
	}
	f, err := p.wire.Connect(n, h.Address, h.Host)
	if err != nil {
		return 0, err
	}
	l := p.listeners[n]
	host := net.JoinHostPort(l.host, strconv.Itoa(int(l.port)))
	uri := "sip:" + h.Address.String()
	answer := make(chan int, 1)
	p.elsewhere(func(w *worker) {
		err = p.originate(w, f, &outgoing{
			method: "OPTIONS", uri: uri, from: "<sip:ringfence@" + host + ">", fromTag: rand.Text()[:10],
			to: "<" + uri + ">", callID: rand.Text(), cseq: 1,
		}, func(status int) { answer <- status })
	})
	if err != nil {
		return 0, err
	}
	select {
	case status := <-answer:
		if status == 408 {
			return 0, context.DeadlineExceeded
		}
		return status, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
