package proxy

import (
	"bytes"
	"net/netip"
	"testing"

	"ringfence/guard"
	"ringfence/proxy/index"
	"ringfence/proxy/wire"
)

func tokenProxy(key byte) *Proxy {
	p := &Proxy{boot: 7, tokens: tokens{current: [32]byte{key}}}
	for _, t := range []guard.Transport{guard.UDP, guard.TCP} {
		p.listeners = append(p.listeners, &listener{Listener: Listener{Listener: wire.Listener{Transport: t}}})
	}
	return p
}

func TestTokens(t *testing.T) {
	p, w := tokenProxy(1), &worker{}
	udp := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.1:5060")}
	tcp := wire.Flow{Listener: 1, Transport: guard.TCP, Remote: netip.MustParseAddrPort("[2001:db8::1]:40000"), Conn: 99}
	for _, f := range []wire.Flow{udp, tcp} {
		got, ok := p.redeem(w, p.appendFlowToken(nil, f))
		if !ok || got.kind != flowToken || got.flow != f {
			t.Errorf("%v came back as %+v, %v", f, got, ok)
		}
		token, ok := p.appendContactToken(nil, f, []byte("sip:alice@10.0.0.7:5060;line=7"))
		if !ok {
			t.Fatal("a Contact is too long")
		}
		got, ok = p.redeem(w, token)
		if !ok || got.kind != contactToken || got.flow != f || string(got.uri) != "sip:alice@10.0.0.7:5060;line=7" {
			t.Errorf("%v came back as %+v, %v", f, got, ok)
		}
	}
	got, ok := p.redeem(w, p.appendDialogToken(nil, []byte("id"), []byte("tag"), udp, tcp))
	if !ok || got.kind != dialogToken || got.caller != udp || got.callee != tcp || got.side != sideHash(got.key, []byte("id"), []byte("tag")) {
		t.Errorf("a dialog came back as %+v, %v", got, ok)
	}
}

func TestTokensOfOthers(t *testing.T) {
	p, w := tokenProxy(1), &worker{}
	f := wire.Flow{Listener: 1, Transport: guard.TCP, Remote: netip.MustParseAddrPort("192.0.2.1:40000"), Conn: 99}
	token := p.appendFlowToken(nil, f)
	for i := range token {
		bad := bytes.Clone(token)
		bad[i] ^= 4
		if got, ok := p.redeem(w, bad); ok {
			t.Errorf("changed at %d it says %+v", i, got)
		}
	}
	next := tokenProxy(2)
	if _, ok := next.redeem(w, token); ok {
		t.Error("another key opens it")
	}
	next.tokens.previous = p.tokens.current
	next.boot = 8
	if got, ok := next.redeem(w, token); !ok || got.flow.Conn != 0 {
		t.Errorf("after a restart it says %+v, %v: connection numbers begin anew", got, ok)
	}
	next.listeners = next.listeners[:1]
	if _, ok := next.redeem(w, token); ok {
		t.Error("it names a listener that is gone")
	}
}

// FuzzReceive gives the proxy whatever comes: it must not panic, and what it
// sends must be messages that it would itself accept.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.7;rport=;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"))
	f.Add([]byte("INVITE sip:a@198.51.100.1;rf=x SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKx, SIP/2.0/UDP b;branch=2\r\nRoute: <sip:x@198.51.100.1;lr>, <sip:y;lr>\r\nMax-Forwards: 3\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: *\r\n\r\n"))
	f.Add([]byte("REGISTER sip:b SIP/2.0\r\nv: SIP/2.0/UDP [2001:db8::1]:5060;received=1.2.3.4;rport=7;branch=z9hG4bKx\r\nf: <sip:a@b>;tag=1\r\nt: <sip:a@b>\r\ni: 1\r\nCSeq: 1 REGISTER\r\nm: sip:a@c;x=y, <sip:d@e>;q=0.1\r\n\r\n"))
	f.Add(option(nil, 1))
	p, w, now := newQuick(f)
	alice := wire.Flow{Remote: netip.MustParseAddrPort("192.0.2.10:40000"), Local: p.listeners[0].bound}
	pbx := wire.Flow{Remote: netip.MustParseAddrPort("203.0.113.5:5060"), Local: p.listeners[0].bound}
	var m index.Message
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, from := range []wire.Flow{alice, pbx} {
			w.last = w.last[:0]
			p.Receive(0, from, bytes.Clone(raw), *now)
			if len(w.last) == 0 {
				continue
			}
			if problem := m.Parse(bytes.Clone(w.last), false, kept); problem != "" {
				t.Fatalf("%s: it sent\n%s\nfor\n%s", problem, w.last, raw)
			}
			if m.Request {
				p.Receive(0, pbx, respond(nil, w.last), *now)
			}
		}
	})
}
