package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority issues certificates, and keeps them in files of a folder.
type authority struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes one with its own certificate in ca.pem.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	a := &authority{folder: t.TempDir(), certificate: certificate, key: key}
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

// issue makes NAME.pem and NAME.key, for either side on loopback.
func (a *authority) issue(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	must(t, err)
	a.write(t, name+".pem", "CERTIFICATE", der)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	a.write(t, name+".key", "PRIVATE KEY", encoded)
}

func (a *authority) write(t *testing.T, name, kind string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name) }

// secure serves what a Temporal server without TLS does, by TLS, to those who have
// a certificate of the authority and the API key.
func (a *authority) secure(t *testing.T, temporal, apiKey string) (address string) {
	t.Helper()
	a.issue(t, "server")
	own, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	must(t, err)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: temporal})
	proxy.Transport, proxy.FlushInterval = transport, -1
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiKey {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "16") // Unauthenticated
			w.Header().Set("Grpc-Message", "no such key")
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	clients := x509.NewCertPool()
	clients.AddCert(a.certificate)
	server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	server.EnableHTTP2 = true
	quiet := log.New(io.Discard, "", 0) // what is refused is what the tests look at
	server.Config.ErrorLog, proxy.ErrorLog = quiet, quiet
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); transport.CloseIdleConnections() })
	return server.Listener.Addr().String()
}

// config is that of a worker who may use what secure serves.
func (a *authority) config(t *testing.T, address, namespace, apiKey string) TemporalConfig {
	t.Helper()
	a.issue(t, "worker")
	return TemporalConfig{
		Address: address, Namespace: namespace, APIKey: apiKey,
		CAFile: a.file("ca.pem"), CertFile: a.file("worker.pem"), KeyFile: a.file("worker.key"),
	}
}

// TestTLS runs an attempt on a real server that asks for everything that it can.
func TestTLS(t *testing.T) {
	t.Parallel()
	plain, namespace := startTemporal(t)
	a := newAuthority(t)
	f := setupWith(t, a.config(t, a.secure(t, plain, "open sesame"), namespace, "open sesame"))
	f.polls(t)
	must(t, f.request(t.Context()))
	f.await(t, "running")
	f.pipeline.ended.Store(true)
	must(t, f.jobEnded(t.Context()))
	f.await(t, "succeeded")
}

// TestRefusedByTemporal has the log say what to mend.
func TestRefusedByTemporal(t *testing.T) {
	t.Parallel()
	plain, namespace := startTemporal(t)
	a := newAuthority(t)
	secured := a.secure(t, plain, "open sesame")
	other := newAuthority(t)
	other.issue(t, "worker")
	for name, test := range map[string]struct {
		change func(*TemporalConfig)
		want   string
	}{
		"another authority":        {func(c *TemporalConfig) { c.CAFile = other.file("ca.pem") }, "GRAF_TEMPORAL_TLS_CA_FILE"},
		"the system's authorities": {func(c *TemporalConfig) { c.CAFile = "" }, "GRAF_TEMPORAL_TLS_CA_FILE"},
		"another's certificate": {
			func(c *TemporalConfig) { c.CertFile, c.KeyFile = other.file("worker.pem"), other.file("worker.key") },
			"GRAF_TEMPORAL_TLS_CERT_FILE",
		},
		"no certificate":   {func(c *TemporalConfig) { c.CertFile, c.KeyFile = "", "" }, "GRAF_TEMPORAL_TLS_CERT_FILE"},
		"another name":     {func(c *TemporalConfig) { c.Address = strings.Replace(secured, "127.0.0.1", "localhost", 1) }, "GRAF_TEMPORAL_ADDRESS"},
		"no TLS":           {func(c *TemporalConfig) { c.CAFile, c.CertFile, c.KeyFile, c.APIKey = "", "", "", "" }, "GRAF_TEMPORAL_TLS_CA_FILE"},
		"a server without": {func(c *TemporalConfig) { c.Address = plain }, "GRAF_TEMPORAL_TLS_CA_FILE"},
		"another API key":  {func(c *TemporalConfig) { c.APIKey = "please" }, "GRAF_TEMPORAL_API_KEY"},
		"no API key":       {func(c *TemporalConfig) { c.APIKey = "" }, "GRAF_TEMPORAL_API_KEY"},
		"a namespace unknown": {
			func(c *TemporalConfig) { *c = TemporalConfig{Address: plain, Namespace: "nowhere"} }, "GRAF_TEMPORAL_NAMESPACE",
		},
		"nobody there": {func(c *TemporalConfig) { c.Address = "127.0.0.1:1" }, "GRAF_TEMPORAL_ADDRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := a.config(t, secured, namespace, "open sesame")
			test.change(&c)
			f := setupWith(t, c)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := f.poll(ctx)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a word about %s", err, test.want)
			}
		})
	}
}

// TestFiles of certificates that are missing or not what they should be.
func TestFiles(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "worker")
	must(t, os.WriteFile(a.file("empty.pem"), []byte("nothing\n"), 0o600))
	for name, test := range map[string]struct {
		change func(*TemporalConfig)
		want   string
	}{
		"no authority":          {func(c *TemporalConfig) { c.CAFile = a.file("lost.pem") }, "GRAF_TEMPORAL_TLS_CA_FILE"},
		"an empty authority":    {func(c *TemporalConfig) { c.CAFile = a.file("empty.pem") }, "has no certificate in PEM"},
		"no key":                {func(c *TemporalConfig) { c.KeyFile = a.file("lost.key") }, "add it to Secret graf-temporal"},
		"no certificate":        {func(c *TemporalConfig) { c.CertFile = a.file("lost.pem") }, "GRAF_TEMPORAL_TLS_CERT_FILE"},
		"the authority as own":  {func(c *TemporalConfig) { c.CertFile = a.file("ca.pem") }, "does not match"},
		"a key for certificate": {func(c *TemporalConfig) { c.CertFile = a.file("worker.key") }, "GRAF_TEMPORAL_TLS_CERT_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := TemporalConfig{CAFile: a.file("ca.pem"), CertFile: a.file("worker.pem"), KeyFile: a.file("worker.key")}
			test.change(&c)
			if _, err := c.options(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a word about %s", err, test.want)
			}
		})
	}
	if err := (TemporalConfig{CertFile: "a"}).Validate(); err == nil {
		t.Error("a certificate without its key is taken")
	}
	o, err := TemporalConfig{Address: "a:1"}.options()
	if err != nil || o.ConnectionOptions.TLS != nil || o.Credentials != nil {
		t.Errorf("without settings: TLS %v, credentials %v, %v", o.ConnectionOptions.TLS, o.Credentials, err)
	}
}
