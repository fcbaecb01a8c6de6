package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// certificate serves a TLS certificate from two files and reads them again
// when told to.
type certificate struct {
	cert, key string
	self      bool // made here, for hosts
	hosts     []string
	now       func() time.Time
	loaded    atomic.Pointer[tls.Certificate]
}

// newCertificate loads a certificate. With no files named it uses the one in
// DIR/tls, which it makes for the hosts when it is not there, is damaged or soon runs
// out. A disk that refuses to keep it is an error beside one that is good for this run.
func newCertificate(cert, key, dir string, hosts []string, now func() time.Time) (*certificate, error) {
	c := &certificate{cert: cert, key: key, now: now}
	if cert == "" {
		c.cert, c.key = filepath.Join(dir, "tls", "self.crt"), filepath.Join(dir, "tls", "self.key")
		c.self, c.hosts = true, hosts
	}
	return c, c.Reload()
}

// Reload reads the files; when they are broken the certificate that was loaded
// stays in use, and if it was made here is made anew.
func (c *certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if c.self && (err != nil || c.runsOut(&pair)) {
		if old := c.loaded.Load(); old != nil && !c.runsOut(old) {
			return nil
		}
		return c.make()
	}
	if err != nil {
		return fmt.Errorf("certificate %s: %w", c.cert, err)
	}
	c.loaded.Store(&pair)
	return nil
}

// runsOut tells whether a certificate has less than a month left.
func (c *certificate) runsOut(pair *tls.Certificate) bool {
	return !c.now().Before(pair.Leaf.NotAfter.AddDate(0, -1, 0))
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.loaded.Load(), nil },
	}
}

// make makes a certificate for the hosts, loads it and keeps it in the files.
func (c *certificate) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ringfence"},
		NotBefore: c.now().Add(-time.Hour), NotAfter: c.now().AddDate(2, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range c.hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c.loaded.Store(&pair)
	if err := os.MkdirAll(filepath.Dir(c.cert), 0o700); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := errors.Join(writeWhole(c.key, keyPEM, 0o600), writeWhole(c.cert, certPEM, 0o644)); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}
