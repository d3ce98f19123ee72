package kubernetes

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
	"time"
)

const certificateLifetime = 10 * 365 * 24 * time.Hour

// loadCertificate reads the API server's key and self-signed certificate from one PEM file, or makes them where there
// are none for this host. The API is served with TLS although it listens on the loopback interface, because client-go
// and kubectl send the token of a kubeconfig over TLS alone.
func loadCertificate(path, host string) (tls.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return tls.Certificate{}, err
	}
	if pair, err := tls.X509KeyPair(data, data); err == nil && pair.Leaf.VerifyHostname(host) == nil &&
		time.Now().Before(pair.Leaf.NotAfter) {
		return pair, nil
	}
	if data, err = newCertificate(host); err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(data, data)
}

func newCertificate(host string) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "graf-local"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if address := net.ParseIP(host); address != nil {
		template.IPAddresses = append(template.IPAddresses, address)
	} else {
		template.DNSNames = append(template.DNSNames, host)
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return append(encodePEM("CERTIFICATE", certificate), encodePEM("PRIVATE KEY", secret)...), nil
}

func encodePEM(kind string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}
