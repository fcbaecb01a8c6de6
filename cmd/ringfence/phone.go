package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// A phone is a small user agent for the demo and the doctor: it registers,
// calls and answers.
type phone struct {
	user, password string
	server         netip.AddrPort
	stop           context.CancelFunc
	stopped        chan struct{}
	agent          *sipgo.UserAgent
	client         *sipgo.Client
	dialogs        *sipgo.DialogUA
	contact        sip.ContactHeader
	answering      *sipgo.DialogServerCache
}

// newPhone opens the phone's socket on the host. It answers every call that
// comes until Close.
func newPhone(host, user, password string, server netip.AddrPort) (*phone, error) {
	port, err := freeUDP(host)
	if err != nil {
		return nil, fmt.Errorf("phone %s: %w", user, err)
	}
	local := net.JoinHostPort(host, strconv.Itoa(int(port)))
	silent := slog.New(slog.DiscardHandler)
	agent, err := sipgo.NewUA(sipgo.WithUserAgent(user), sipgo.WithUserAgentHostname(server.Addr().String()))
	if err != nil {
		return nil, fmt.Errorf("phone %s: %w", user, err)
	}
	p := &phone{
		user: user, password: password, server: server, agent: agent, stopped: make(chan struct{}),
		contact: sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: host, Port: int(port)}},
	}
	listening, ready := make(chan struct{}), sync.Once{}
	ctx, stop := context.WithCancel(context.WithValue(context.Background(), sipgo.ListenReadyCtxKey, //nolint:staticcheck // the library wants a string
		sipgo.ListenReadyFuncCtxValue(func(string, string) { ready.Do(func() { close(listening) }) })))
	p.stop = stop
	answerer, err := sipgo.NewServer(agent, sipgo.WithServerLogger(silent))
	if err == nil {
		p.client, err = sipgo.NewClient(agent, sipgo.WithClientHostname(host), sipgo.WithClientPort(int(port)),
			sipgo.WithClientConnectionAddr(local), sipgo.WithClientLogger(silent))
	}
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("phone %s: %w", user, err), agent.Close())
	}
	p.dialogs = &sipgo.DialogUA{Client: p.client, ContactHDR: p.contact}
	p.answering = sipgo.NewDialogServerCache(p.client, p.contact)
	answerer.OnInvite(p.answer)
	answerer.OnAck(func(req *sip.Request, tx sip.ServerTransaction) { _ = p.answering.ReadAck(req, tx) })
	answerer.OnBye(func(req *sip.Request, tx sip.ServerTransaction) { _ = p.answering.ReadBye(req, tx) })
	failed := make(chan error, 1)
	go func() {
		defer close(p.stopped)
		failed <- answerer.ListenAndServe(ctx, "udp", local)
	}()
	select {
	case <-listening:
		return p, nil
	case err := <-failed:
		return nil, errors.Join(fmt.Errorf("phone %s: %w", user, err), p.Close())
	}
}

const phoneSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"

func (p *phone) answer(req *sip.Request, tx sip.ServerTransaction) {
	d, err := p.answering.ReadInvite(req, tx)
	if err != nil {
		return
	}
	if d.Respond(180, "Ringing", nil) != nil || d.RespondSDP([]byte(phoneSDP)) != nil {
		return
	}
	select { // sipgo ends the transaction when the handler returns
	case <-d.Context().Done():
	case <-time.After(30 * time.Second):
	}
}

// Register registers once and returns the final status.
func (p *phone) Register(ctx context.Context) (int, error) {
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: p.server.Addr().String(), Port: int(p.server.Port())})
	aor := sip.Uri{Scheme: "sip", User: p.user, Host: p.server.Addr().String()}
	from := &sip.FromHeader{Address: aor, Params: sip.NewParams()}
	from.Params.Add("tag", sip.GenerateTagN(12))
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: aor})
	req.AppendHeader(&p.contact)
	req.AppendHeader(sip.NewHeader("Expires", "300"))
	req.SetDestination(p.server.String())
	res, err := p.client.Do(ctx, req, sipgo.ClientRequestRegisterBuild)
	if err != nil {
		return 0, fmt.Errorf("phone %s: register: %w", p.user, err)
	}
	if res.StatusCode == 401 || res.StatusCode == 407 {
		res, err = p.client.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: p.user, Password: p.password})
		if err != nil {
			return 0, fmt.Errorf("phone %s: register: %w", p.user, err)
		}
	}
	return res.StatusCode, nil
}

// Call calls a number, talks for a while, hangs up, and returns the final
// status of the INVITE.
func (p *phone) Call(ctx context.Context, number string, talk time.Duration) (int, error) {
	to := sip.Uri{Scheme: "sip", User: number, Host: p.server.Addr().String(), Port: int(p.server.Port())}
	d, err := p.dialogs.Invite(ctx, to, []byte(phoneSDP), sip.NewHeader("Content-Type", "application/sdp"))
	if err != nil {
		return 0, fmt.Errorf("phone %s: call %s: %w", p.user, number, err)
	}
	defer d.Close()
	err = d.WaitAnswer(ctx, sipgo.AnswerOptions{Username: p.user, Password: p.password})
	if refused, ok := errors.AsType[*sipgo.ErrDialogResponse](err); ok {
		return refused.Res.StatusCode, nil
	}
	if err != nil {
		return 0, fmt.Errorf("phone %s: call %s: %w", p.user, number, err)
	}
	if err := d.Ack(ctx); err != nil {
		return 0, fmt.Errorf("phone %s: ACK: %w", p.user, err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(talk):
	}
	if err := d.Bye(ctx); err != nil {
		return 0, fmt.Errorf("phone %s: BYE: %w", p.user, err)
	}
	return 200, nil
}

// Close hangs the phone up for good.
func (p *phone) Close() error {
	p.stop()
	err := errors.Join(p.client.Close(), p.agent.Close())
	<-p.stopped
	return err
}
