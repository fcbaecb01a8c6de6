package auth

import (
	"cmp"
	"fmt"
	"time"
)

// DefaultRealm is the realm of challenges and accounts when none is configured.
const DefaultRealm = "ringfence"

// Config is what an operator may set. The zero value works.
type Config struct {
	Realm       string        `yaml:"realm"`        // default DefaultRealm; naming one makes ringfence authenticate
	Algorithms  []string      `yaml:"algorithms"`   // offered, most preferred first; default SHA-256, MD5
	NonceLife   time.Duration `yaml:"nonce_life"`   // how long a nonce may be used; default 5 min
	BindCallID  bool          `yaml:"bind_call_id"` // a nonce is good for one Call-ID only
	RFC2069     bool          `yaml:"rfc2069"`      // accept credentials without qop
	URI         string        `yaml:"uri"`          // how the uri of credentials must match: tolerant (default), exact or off
	Opaque      string        `yaml:"opaque"`       // sent in challenges; default none
	ReplaySlots int           `yaml:"replay_slots"` // how many nonce counts are remembered; default 65536

	local bool // a realm was named
}

// Keys are the secrets of nonces: 16 bytes for the part that proves an address,
// which the kernel filter shares, and 16 bytes for everything else.
type Keys struct {
	Current  [32]byte
	Previous [32]byte // still accepted; zero if there is none
}

// Fill writes out the defaults of what is not set. The realm is left: without one
// the next hop authenticates.
func (c *Config) Fill() {
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{sha256Name, md5Name}
	}
	c.NonceLife = cmp.Or(c.NonceLife, 5*time.Minute)
	c.ReplaySlots = cmp.Or(c.ReplaySlots, 65536)
	c.URI = cmp.Or(c.URI, "tolerant")
}

// Check tells what an operator has set that makes no sense.
func (c Config) Check() error { return c.complete() }

// complete puts defaults in and checks what was set.
func (c *Config) complete() error {
	c.local = c.Realm != ""
	c.Realm = cmp.Or(c.Realm, DefaultRealm)
	c.Fill()
	names := make([]string, len(c.Algorithms))
	for i, written := range c.Algorithms {
		name, ok := canonical(written)
		if !ok || written == "" {
			return fmt.Errorf("algorithm %q is not known (want MD5, SHA-256 or SHA-512-256)", written)
		}
		names[i] = name
	}
	c.Algorithms = names
	if c.NonceLife < 2*slotLength || c.NonceLife > 24*time.Hour {
		return fmt.Errorf("nonce_life is %v (want %v to 24h)", c.NonceLife, 2*slotLength)
	}
	if c.ReplaySlots < 0 || c.ReplaySlots > 1<<24 {
		return fmt.Errorf("replay_slots is %d (want 1 to %d)", c.ReplaySlots, 1<<24)
	}
	switch c.URI {
	case "tolerant", "exact", "off":
	default:
		return fmt.Errorf("uri is %q (want tolerant, exact or off)", c.URI)
	}
	return nil
}
