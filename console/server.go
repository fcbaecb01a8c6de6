package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// A Daemon is what the console needs of the daemon it belongs to. Errors are
// shown to people as they are.
type Daemon interface {
	Status(context.Context) Status
	Bans(context.Context) []Ban
	Ban(context.Context, BanRequest) (Banned, error)
	Lift(context.Context, LiftRequest) (Lifted, error)
	Accounts(context.Context) []Account
	AddAccount(context.Context, AccountRequest) error
	RemoveAccount(ctx context.Context, realm, user string) error
	Calls(context.Context) []Call
	EndCall(ctx context.Context, id, reason string) error
	History(context.Context, Query) ([]Entry, error)
	Explain(ctx context.Context, about string) (Explanation, error)
	RuleHits(context.Context) []RuleHits
	Apply(context.Context, ApplyRequest) (Applied, error)
	Doctor(context.Context) []Finding
	// Watch gives what passes to show until ctx ends or show refuses. The zero
	// Passed comes first and says that nothing is missed from then on.
	Watch(ctx context.Context, q WatchQuery, show func(Passed) error) error
}

// Options says where the console listens.
type Options struct {
	Socket string // path of the unix socket
	Daemon Daemon
	Log    *slog.Logger
	Body   int64 // largest request in bytes; default 1 MiB
}

// A Console serves one daemon.
type Console struct {
	o        Options
	listener net.Listener
}

// ErrRunning tells that another daemon listens.
var ErrRunning = errors.New("another ringfence is running with this state directory; stop it or give --state another")

// Answers tells whether somebody listens on a socket.
func Answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// New binds the socket with mode 0600. A socket that another daemon answers on
// is an error; a dead one is taken over.
func New(o Options) (*Console, error) {
	if o.Body <= 0 {
		o.Body = 1 << 20
	}
	if Answers(o.Socket) {
		return nil, fmt.Errorf("control socket %s: %w", o.Socket, ErrRunning)
	}
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.Listen("unix", o.Socket)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(o.Socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Console{o: o, listener: l}, nil
}

// Close closes a console that was never run; after Run it does nothing.
func (c *Console) Close() { _ = c.listener.Close() }

// Run serves until ctx ends and joins what it started.
func (c *Console) Run(ctx context.Context) error {
	s := &http.Server{
		Handler: c.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 16,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		stopped <- s.Shutdown(grace)
	}()
	if err := s.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return <-stopped
}

// handler routes; the paths are the API.
func (c *Console) handler() http.Handler {
	d, mux := c.o.Daemon, http.NewServeMux()
	mux.HandleFunc("GET /v1/status", get(func(r *http.Request) (any, error) { return d.Status(r.Context()), nil }))
	mux.HandleFunc("GET /v1/bans", get(func(r *http.Request) (any, error) { return d.Bans(r.Context()), nil }))
	mux.HandleFunc("POST /v1/bans", post(c, func(r *http.Request, in BanRequest) (any, error) { return d.Ban(r.Context(), in) }))
	mux.HandleFunc("POST /v1/lift", post(c, func(r *http.Request, in LiftRequest) (any, error) { return d.Lift(r.Context(), in) }))
	mux.HandleFunc("GET /v1/accounts", get(func(r *http.Request) (any, error) { return d.Accounts(r.Context()), nil }))
	mux.HandleFunc("POST /v1/accounts", post(c, func(r *http.Request, in AccountRequest) (any, error) {
		return struct{}{}, d.AddAccount(r.Context(), in)
	}))
	mux.HandleFunc("DELETE /v1/accounts/{realm}/{user}", get(func(r *http.Request) (any, error) {
		return struct{}{}, d.RemoveAccount(r.Context(), r.PathValue("realm"), r.PathValue("user"))
	}))
	mux.HandleFunc("GET /v1/calls", get(func(r *http.Request) (any, error) { return d.Calls(r.Context()), nil }))
	mux.HandleFunc("POST /v1/calls/end", post(c, func(r *http.Request, in EndRequest) (any, error) {
		return struct{}{}, d.EndCall(r.Context(), in.ID, in.Reason)
	}))
	mux.HandleFunc("POST /v1/history", post(c, func(r *http.Request, in Query) (any, error) { return d.History(r.Context(), in) }))
	mux.HandleFunc("GET /v1/explain", get(func(r *http.Request) (any, error) { return d.Explain(r.Context(), r.FormValue("about")) }))
	mux.HandleFunc("GET /v1/rules/hits", get(func(r *http.Request) (any, error) { return d.RuleHits(r.Context()), nil }))
	mux.HandleFunc("POST /v1/rules/apply", post(c, func(r *http.Request, in ApplyRequest) (any, error) { return d.Apply(r.Context(), in) }))
	mux.HandleFunc("POST /v1/watch", c.watch)
	mux.HandleFunc("GET /v1/doctor", get(func(r *http.Request) (any, error) { return d.Doctor(r.Context()), nil }))
	return mux
}

// An EndRequest asks that a call ends.
type EndRequest struct {
	ID     string `json:"call_id"`
	Reason string `json:"reason"`
}

// A refusal is what the console answers when it could not.
type refusal struct {
	Error string `json:"error"`
}

func get(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := f(r)
		answer(w, out, err)
	}
}

func post[T any](c *Console, f func(*http.Request, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, c.o.Body))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			answer(w, nil, fmt.Errorf("request: %w", err))
			return
		}
		out, err := f(r, in)
		answer(w, out, err)
	}
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		out = refusal{err.Error()}
	}
	// An error here means that the caller is gone, and there is nobody to tell.
	_ = json.NewEncoder(w).Encode(out)
}
