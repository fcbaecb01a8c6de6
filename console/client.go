package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ErrNotRunning is returned when no daemon listens on the socket.
var ErrNotRunning = errors.New("no ringfence is running")

// A Client asks a running daemon.
type Client struct {
	state string
	http  http.Client
}

// NewClient makes a client for the daemon of a state directory, which listens on one
// of the sockets; it connects when asked.
func NewClient(state string, sockets ...string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		var first error
		for _, s := range sockets {
			conn, err := d.DialContext(ctx, "unix", s)
			if err == nil {
				return conn, nil
			}
			if first == nil { // the others may be of other users
				first = err
			}
		}
		return nil, first
	}
	return &Client{state, http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// absent tells whether a socket is not there or nobody listens.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR)
}

// Do sends in (nil: nothing) and decodes the answer into out. A refusal comes
// back as an error with the daemon's words.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := c.ask(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, largest))
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// largest is how many bytes of an answer are read.
const largest = 256 << 20

// ask sends in and returns the answer if it is no refusal.
func (c *Client) ask(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://ringfence"+path, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if absent(err) {
			return nil, fmt.Errorf("%w with the state directory %s; name that of the daemon with --state", ErrNotRunning, c.state)
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, largest))
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	var no refusal
	if err := json.Unmarshal(text, &no); err != nil || no.Error == "" {
		return nil, fmt.Errorf("control socket: %s", answer.Status)
	}
	return nil, errors.New(no.Error)
}
