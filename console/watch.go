package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// A WatchQuery says which messages somebody wants to see as they pass; empty
// fields do not matter. A call is wanted as a whole.
type WatchQuery struct {
	From   string       `json:"from,omitempty"` // user, or user@host
	To     string       `json:"to,omitempty"`
	Source netip.Prefix `json:"source,omitzero"`
	Rule   string       `json:"rule,omitempty"` // decided or matched
	CallID string       `json:"call_id,omitempty"`
}

// A Passed is one message that passed, what was decided about the one before it,
// or how many were not shown.
type Passed struct {
	At        time.Time `json:"at,omitzero"`
	Kind      string    `json:"kind"` // received, sent, verdict, lost
	CallID    string    `json:"call_id,omitempty"`
	From      string    `json:"from,omitempty"`
	To        string    `json:"to,omitempty"`
	Far       string    `json:"far,omitempty"` // address:port of the other end
	Transport string    `json:"transport,omitempty"`
	Peer      string    `json:"peer,omitempty"`   // name of the next hop that the other end is
	Method    string    `json:"method,omitempty"` // of a response that of its request
	Status    int       `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Problem   string    `json:"problem,omitempty"` // why a message cannot be read
	First     string    `json:"first,omitempty"`   // first line of one that cannot
	Again     bool      `json:"again,omitempty"`   // a retransmission
	Verdict   string    `json:"verdict,omitempty"`
	Stage     string    `json:"stage,omitempty"`
	Rule      string    `json:"rule,omitempty"`
	Where     string    `json:"where,omitempty"` // file:line of the rule
	Ban       string    `json:"ban,omitempty"`
	Account   string    `json:"account,omitempty"`
	Matches   []Match   `json:"matches,omitempty"`
	Lost      uint64    `json:"lost,omitempty"`
}

// watch streams what passes, one JSON object a line, until the caller goes.
func (c *Console) watch(w http.ResponseWriter, r *http.Request) {
	var q WatchQuery
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, c.o.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		answer(w, nil, fmt.Errorf("request: %w", err))
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // ReadTimeout is for requests; it would end the stream too
	// A caller who reads nothing must not hold up the end of the daemon.
	stop := context.AfterFunc(r.Context(), func() { _ = rc.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	begun := false
	e := json.NewEncoder(w)
	show := func(p Passed) error {
		if !begun {
			w.Header().Set("Content-Type", "application/x-ndjson")
			begun = true
		}
		if p.Kind != "" { // else the stream has only begun
			if err := e.Encode(p); err != nil {
				return err
			}
		}
		return rc.Flush()
	}
	if err := c.o.Daemon.Watch(r.Context(), q, show); err != nil && !begun {
		answer(w, nil, err)
	}
}

// ErrEnded is returned by Watch when the daemon ends.
var ErrEnded = errors.New("the daemon ended")

// Watch shows what passes until ctx ends, the daemon does, or show returns an
// error, which is then returned. ready is called once, when nothing that passes
// from now on is missed.
func (c *Client) Watch(ctx context.Context, q WatchQuery, ready func(), show func(Passed) error) error {
	stream, err := c.ask(ctx, http.MethodPost, "/v1/watch", q)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was asked to end
	}
	if err != nil {
		return err
	}
	defer stream.Body.Close()
	ready()
	for d := json.NewDecoder(stream.Body); ; {
		var p Passed
		switch err := d.Decode(&p); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return ErrEnded
		case err != nil:
			return fmt.Errorf("control socket: %w", err)
		}
		if err := show(p); err != nil {
			return err
		}
	}
}
