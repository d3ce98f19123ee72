package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Cluster is a running local cluster.
type Cluster struct {
	options  Options
	token    string
	before   string // where the platform before this one had its files in memory
	store    *store
	kubelet  *kubelet
	janitor  *janitor
	listener net.Listener
	keys     tls.Certificate
	server   *http.Server
	cancel   context.CancelFunc
	running  sync.WaitGroup
	closing  sync.Once
	closed   error
}

// Start opens the data folder, goes on with the pods that it finds there, and serves the API until Close.
func Start(options Options) (*Cluster, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := openStore(options.DataDir)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	f, before, err := openFolders(options.DataDir, options.MemoryDir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kubernetes: %w", err), s.close())
	}
	c := &Cluster{options: options, store: s, before: before, kubelet: newKubelet(s, f, options)}
	c.janitor = newJanitor(s, c.kubelet, options.Logger)
	if err := c.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("kubernetes: %w", err), c.Close(context.Background()))
	}
	return c, nil
}

func (c *Cluster) start() error {
	var err error
	if c.token, err = loadToken(filepath.Join(c.options.DataDir, "token")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	if err := c.wire(ctx); err != nil {
		return err
	}
	if err := c.createNamespaces(); err != nil {
		return err
	}
	// A taken port must be found out before any pod is started.
	if c.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", c.options.Listen); err != nil {
		return fmt.Errorf("listen for the Kubernetes API: %w", err)
	}
	if c.keys, err = loadCertificate(filepath.Join(c.options.DataDir, "api.pem"), c.host()); err != nil {
		return err
	}
	if err := c.kubelet.recover(c.before); err != nil {
		return err
	}
	c.running.Go(func() { c.janitor.run(ctx) })
	c.serve()
	return nil
}

// wire connects the store to those who follow it, before anything is written.
func (c *Cluster) wire(ctx context.Context) error {
	follow := func(changes []change) {
		c.kubelet.published(changes)
		c.janitor.published(changes)
	}
	c.store.published = follow
	if c.options.Notify == nil {
		return nil
	}
	n := newNotifier(c.store, c.options.Notify, c.options.Logger)
	if err := n.load(); err != nil {
		return err
	}
	c.store.recording = n.record
	c.store.published = func(changes []change) {
		follow(changes)
		n.enqueue(changes)
	}
	c.running.Go(func() { n.run(ctx) })
	return nil
}

func (c *Cluster) createNamespaces() error {
	for _, name := range append([]string{metav1.NamespaceDefault}, c.options.Namespaces...) {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := admit(namespaceResource, namespace); err != nil {
			return err
		}
		err := c.store.update(func(t *transaction) error {
			if t.exists(keyOf(namespaceResource, namespace)) {
				return nil
			}
			_, err := insert(t, namespaceResource, namespace)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) serve() {
	c.server = &http.Server{
		Handler: c.handler(), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{c.keys}, MinVersion: tls.VersionTLS13},
	}
	c.running.Go(func() {
		err := c.server.ServeTLS(c.listener, "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			c.options.Logger.Error("kubernetes: the API server stopped", "error", err)
		}
	})
}

// URL is the API's base URL.
func (c *Cluster) URL() string { return "https://" + c.listener.Addr().String() }

// Certificate is the API server's self-signed certificate in PEM, which its clients must trust. It stays the same for a
// data folder.
func (c *Cluster) Certificate() []byte { return encodePEM("CERTIFICATE", c.keys.Certificate[0]) }

func (c *Cluster) host() string {
	host, _, _ := net.SplitHostPort(c.listener.Addr().String())
	return host
}

// Token is the bearer token that the API asks for. It stays the same for a data folder.
func (c *Cluster) Token() string { return c.token }

// Close stops serving, ends all processes with SIGTERM and at most five seconds of grace, and closes the data folder.
// When ctx ends first, connections are cut; processes are ended in any case.
func (c *Cluster) Close(ctx context.Context) error {
	c.closing.Do(func() { c.closed = c.close(ctx) })
	return c.closed
}

func (c *Cluster) close(ctx context.Context) error {
	var err error
	c.store.changes.close() // ends the watches, which Shutdown would wait for
	switch {
	case c.server != nil: // which closes the listener
		if err = c.server.Shutdown(ctx); err != nil {
			err = errors.Join(err, c.server.Close())
		}
	case c.listener != nil:
		err = c.listener.Close()
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.running.Wait()
	c.kubelet.close()
	return errors.Join(err, c.kubelet.folders.close(), c.store.close())
}

// loadToken reads the bearer token, or makes one where there is none yet.
func loadToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(data)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	token := hex.EncodeToString(random)
	return token, os.WriteFile(path, []byte(token+"\n"), 0o600)
}
