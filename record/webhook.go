package record

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// A Webhook posts alerts as JSON. With a secret the header X-Ringfence-Signature
// holds sha256= and the HMAC of the body.
type Webhook struct {
	URL    string
	Secret []byte
	Tries  int           // default 4
	Wait   time.Duration // before the second try, doubled after each; default 1 s
	Client *http.Client  // default: 5 s for each try
}

// Name names the channel in metrics.
func (*Webhook) Name() string { return "webhook" }

// Send posts a notice, again while the answer is an error that may pass.
func (w *Webhook) Send(ctx context.Context, n Notice) error {
	body, err := json.Marshal(map[string]any{
		"rule": n.Rule, "title": n.Title, "severity": n.Severity, "group": n.Group, "at": n.At.UTC().Format(time.RFC3339Nano),
		"text": n.Text, "stands_for": n.Stands,
	})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	tries, wait, client := w.Tries, w.Wait, w.Client
	if tries <= 0 {
		tries = 4
	}
	if wait <= 0 {
		wait = time.Second
	}
	if client == nil {
		client = &http.Client{Timeout: 5 * time.Second}
	}
	for try := 1; ; try++ {
		again, err := w.post(ctx, client, body)
		if err == nil || !again || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("webhook: %w", ctx.Err())
		case <-time.After(wait):
			wait *= 2
		}
	}
}

func (w *Webhook) post(ctx context.Context, client *http.Client, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("webhook: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if len(w.Secret) > 0 {
		mac := hmac.New(sha256.New, w.Secret)
		mac.Write(body)
		r.Header.Set("X-Ringfence-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := client.Do(r)
	if err != nil {
		if in, ok := errors.AsType[*url.Error](err); ok {
			err = in.Err // without the address: it may be the secret
		}
		return true, fmt.Errorf("webhook: %w", err)
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, 1<<16); err != nil && !errors.Is(err, io.EOF) {
		return true, fmt.Errorf("webhook: %w", err)
	}
	if answer.StatusCode >= 300 {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests, fmt.Errorf("webhook: %s", answer.Status)
	}
	return false, nil
}
