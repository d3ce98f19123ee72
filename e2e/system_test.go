//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

const (
	// patience bounds every wait. A test never expects something to be quick: the
	// tick that takes up what was lost comes once a minute.
	patience = 4 * time.Minute
	// glance is the pause between two looks at something that is waited for.
	glance = 200 * time.Millisecond
)

// functionNames are Graf's.
var functionNames = []string{"submit", "callback", "memory", "embed", "launch", "finalize"}

// system is Graf as it is deployed.
type system struct {
	cluster dynamic.Interface
	pool    *pgxpool.Pool
	redis   *redis.Client
	// address is where pods reach servers of the tests.
	address string
	// run is different in every test, to tell its tasks from those of others.
	run     string
	started time.Time
	// tokens are the API tokens by caller, token is that of the first; broker is the
	// address of the Broker's ingress; urls are the functions' own.
	tokens        map[string]string
	token, broker string
	urls          map[string]string
}

var shared struct {
	cluster dynamic.Interface
	address string
}

// TestMain connects to the cluster, whose names all HTTP clients then know.
func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func prepare() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if shared.cluster, err = connect(); err != nil {
		return err
	}
	if shared.address, err = reachable(ctx, shared.cluster); err != nil {
		return err
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return fmt.Errorf("http.DefaultTransport is a %T", http.DefaultTransport)
	}
	logging.Disable() // Redis's client would tell of each try while Redis is killed
	transport.DialContext = dialer(shared.cluster)
	transport.MaxIdleConnsPerHost = 200
	namespace := &unstructured.Unstructured{Object: object{
		"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": tests},
	}}
	_, err = shared.cluster.Resource(namespaces).Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// newSystem finds Graf on the cluster.
func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{
		cluster: shared.cluster, address: shared.address, urls: map[string]string{}, tokens: map[string]string{},
		run: strings.ToLower(strings.ReplaceAll(uuid.NewString()[:8], "-", "")), started: time.Now(),
	}
	for _, name := range functionNames {
		o := s.awaitReady(t, functions, graf, "graf-"+name)
		s.urls[name], _, _ = unstructured.NestedString(o.Object, "status", "url")
	}
	broker := s.awaitReady(t, brokers, graf, "default")
	s.broker, _, _ = unstructured.NestedString(broker.Object, "status", "address", "url")
	for pair := range strings.FieldsFuncSeq(s.secret(t, "graf-api", "GRAF_API_BEARER_TOKENS"), func(r rune) bool {
		return r == ',' || r == ' '
	}) {
		caller, token, _ := strings.Cut(pair, "=")
		s.tokens[caller] = token
		s.token = cmp.Or(s.token, token)
	}
	s.openDatabases(t)
	t.Cleanup(func() { s.diagnose(t) })
	return s
}

func (s *system) openDatabases(t *testing.T) {
	t.Helper()
	config, err := pgxpool.ParseConfig(s.secret(t, "graf-postgres", "GRAF_DATABASE_URL"))
	must(t, err)
	config.ConnConfig.DialFunc = dialer(s.cluster)
	config.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	s.pool, err = pgxpool.NewWithConfig(within(t), config)
	must(t, err)
	t.Cleanup(s.pool.Close)
	options, err := redis.ParseURL(s.secret(t, "graf-redis", "GRAF_REDIS_URL"))
	must(t, err)
	options.Dialer = dialer(s.cluster)
	s.redis = redis.NewClient(options)
	t.Cleanup(func() { _ = s.redis.Close() })
}

// secret reads what the functions are given.
func (s *system) secret(t *testing.T, name, key string) string {
	t.Helper()
	o, err := s.cluster.Resource(secrets).Namespace(graf).Get(within(t), name, metav1.GetOptions{})
	must(t, err)
	encoded, _, _ := unstructured.NestedString(o.Object, "data", key)
	value, err := base64.StdEncoding.DecodeString(encoded)
	must(t, err)
	if len(value) == 0 {
		t.Fatalf("Secret %s has no %s", name, key)
	}
	return string(value)
}

// image is that of the tests' own agent, codexImage that of the Codex CLI.
func image(t *testing.T) string      { t.Helper(); return imageNamed(t, "GRAF_E2E_AGENT_IMAGE") }
func codexImage(t *testing.T) string { t.Helper(); return imageNamed(t, "GRAF_E2E_CODEX_IMAGE") }

// imageNamed is the one that e2e/run.sh has delivered, and named in a variable.
func imageNamed(t *testing.T, variable string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		t.Fatalf("%s is not set: run these tests with make e2e", variable)
	}
	return name
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually looks again and again until ok, and fails the test with what it
// waited for when patience runs out.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
