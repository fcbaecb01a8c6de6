package auth

import "time"

// DefaultRealm is the realm of challenges and accounts when none is configured.
const DefaultRealm = "ringfence"

// Config is what an operator may set. The zero value works.
type Config struct {
	Realm       string        `yaml:"realm"`        // default DefaultRealm
	Algorithms  []string      `yaml:"algorithms"`   // offered, most preferred first; default SHA-256, MD5
	NonceLife   time.Duration `yaml:"nonce_life"`   // how long a nonce may be used; default 5 min
	BindCallID  bool          `yaml:"bind_call_id"` // a nonce is good for one Call-ID only
	RFC2069     bool          `yaml:"rfc2069"`      // accept credentials without qop
	URI         string        `yaml:"uri"`          // how the uri of credentials must match: tolerant (default), exact or off
	Opaque      string        `yaml:"opaque"`       // sent in challenges; default none
	ReplaySlots int           `yaml:"replay_slots"` // how many nonce counts are remembered; default 65536
}

// Keys are the secrets of nonces: 16 bytes for the part that proves an address,
// which the kernel filter shares, and 16 bytes for everything else.
type Keys struct {
	Current  [32]byte
	Previous [32]byte // still accepted; zero if there is none
}
