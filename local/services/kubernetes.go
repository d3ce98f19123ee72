package services

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The kubeconfig names these; RBAC lets the group do everything.
const (
	administrator       = "admin"
	administratorsGroup = "system:masters"
)

// addKubernetes makes an API server and its etcd children of this process. Both
// end by SIGKILL: nothing that they keep is read again, and an API server takes
// its time to part with clients that watch.
func (s *Set) addKubernetes(config Config, report func(error)) error {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = FreePort(); err != nil {
			return err
		}
	}
	folder := filepath.Join(s.folder, "kubernetes")
	a := &apiserver{folder: folder, program: config.Kubernetes, address: address(loopback, ports[0]), etcd: "http://" + address(loopback, ports[1])}
	s.Etcd = &process{
		name:       "etcd",
		folder:     filepath.Join(s.folder, "etcd"),
		address:    address(loopback, ports[1]),
		stopSignal: syscall.SIGKILL,
		command: func() *exec.Cmd {
			return etcdCommand(config.Kubernetes, filepath.Join(s.folder, "etcd"), a.etcd, "http://"+address(loopback, ports[2]))
		},
		probe:  func(ctx context.Context) error { return get(ctx, http.DefaultClient, a.etcd+"/health") },
		report: report,
	}
	s.Kubernetes = &process{
		name:       "the Kubernetes API server",
		folder:     folder,
		address:    a.address,
		stopSignal: syscall.SIGKILL,
		prepare:    a.prepare,
		command:    a.command,
		probe:      func(ctx context.Context) error { return get(ctx, a.client, "https://"+a.address+"/readyz") },
		report:     report,
	}
	s.kubeconfig = a.path("kubeconfig")
	return nil
}

// KubernetesEnvironment gives the API server as the setting by which tests find
// it, NAME=value; nil when none is started.
func (s *Set) KubernetesEnvironment() []string {
	if s.Kubernetes == nil {
		return nil
	}
	return []string{TestKubeconfig + "=" + s.kubeconfig}
}

func etcdCommand(program, folder, clients, peers string) *exec.Cmd {
	//nolint:noctx // it outlives the context of its start; Stop ends it
	cmd := exec.Command(program, "etcd", "--data-dir="+filepath.Join(folder, "data"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	cmd.Env, cmd.Dir = environment(), folder
	return cmd
}

// apiserver is what the supervised API server needs to know.
type apiserver struct {
	folder, program, address, etcd string
	client                         *http.Client // an administrator's; made by prepare
}

func (a *apiserver) path(name string) string { return filepath.Join(a.folder, name) }

// prepare makes the certificates, the key of service accounts' tokens and the
// kubeconfig.
func (a *apiserver) prepare(context.Context) error {
	authority, err := newAuthority()
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	server, serverErr := authority.issue("kube-apiserver", "")
	admin, adminErr := authority.issue(administrator, administratorsGroup)
	accounts, accountsErr := newKey()
	if err := errors.Join(serverErr, adminErr, accountsErr); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	for name, data := range map[string][]byte{
		"ca.crt": authority.certificate, "apiserver.crt": server.certificate, "apiserver.key": server.key,
		"service-account.key": accounts, "kubeconfig": a.kubeconfig(authority.certificate, admin),
	} {
		if err := os.WriteFile(a.path(name), data, 0o600); err != nil {
			return err
		}
	}
	return a.makeClient(authority.certificate, admin)
}

func (a *apiserver) makeClient(authority []byte, admin pair) error {
	certificate, err := tls.X509KeyPair(admin.certificate, admin.key)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: trusted, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
	}}}
	return nil
}

func (a *apiserver) kubeconfig(authority []byte, admin pair) []byte {
	text := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: graf
contexts: [{name: graf, context: {cluster: graf, user: %s}}]
clusters: [{name: graf, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: %s, user: {client-certificate-data: %s, client-key-data: %s}}]
`, administrator, a.address, text(authority), administrator, text(admin.certificate), text(admin.key))
}

// command leaves admission and everything else that decides about requests as it
// is by default: tests are to meet what a cluster does.
func (a *apiserver) command() *exec.Cmd {
	host, port, _ := strings.Cut(a.address, ":")
	//nolint:noctx // it outlives the context of its start; Stop ends it
	cmd := exec.Command(a.program, "kube-apiserver", "--etcd-servers="+a.etcd, "--bind-address="+host, "--secure-port="+port,
		"--advertise-address="+host, "--endpoint-reconciler-type=none", // no pod looks for it
		"--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC", "--allow-privileged=true", "--profiling=false",
		"--client-ca-file="+a.path("ca.crt"), "--tls-cert-file="+a.path("apiserver.crt"), "--tls-private-key-file="+a.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+a.path("service-account.key"),
		"--service-account-signing-key-file="+a.path("service-account.key"))
	cmd.Env, cmd.Dir = environment(), a.folder
	return cmd
}

// get asks whether a server answers with status 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // the rest of it is not read
	if response.StatusCode == http.StatusOK {
		return nil
	}
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(http.MaxBytesReader(nil, response.Body, maxTail)) // what there is of it
	return fmt.Errorf("it answers %s: %s", response.Status, answer.String())
}
