package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Namespaces of Graf, and of what is measured beside it.
const (
	graf = "graf"
	own  = "graf-measure"
)

// functionNames are Graf's.
var functionNames = []string{"submit", "callback", "memory", "embed", "launch", "finalize"}

// environment is the cluster with Graf on it.
type environment struct {
	options  options
	report   *report
	cluster  *cluster
	http     *http.Client
	database *pgxpool.Pool
	// token is an API token, broker the address of Graf's Broker, submit the
	// function's URL.
	token, broker, submit string
}

func newEnvironment(ctx context.Context, o options) (*environment, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	all, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	version, _, _ := unstructured.NestedString(all[0].Object, "status", "nodeInfo", "kubeletVersion")
	transport := &http.Transport{DialContext: c.dialer(), MaxIdleConnsPerHost: 64}
	e := &environment{options: o, report: newReport(version), cluster: c, http: &http.Client{Transport: transport, Timeout: time.Minute}}
	if err := e.findGraf(ctx); err != nil {
		return nil, fmt.Errorf("%w: is Graf deployed? make deploy", err)
	}
	if err := e.deployTrivial(ctx); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

// findGraf asks the cluster where Graf is.
func (e *environment) findGraf(ctx context.Context) error {
	for _, name := range functionNames {
		url, err := e.functionURL(ctx, graf, "graf-"+name)
		if err != nil {
			return err
		}
		if name == "submit" {
			e.submit = url
		}
	}
	broker, err := e.awaitReady(ctx, brokers, graf, "default")
	if err != nil {
		return err
	}
	e.broker, _, _ = unstructured.NestedString(broker.Object, "status", "address", "url")
	tokens, err := e.secret(ctx, "graf-api", "GRAF_API_BEARER_TOKENS")
	if err != nil {
		return err
	}
	// The first of NAME=TOKEN, NAME=TOKEN.
	first, _, _ := strings.Cut(tokens, ",")
	_, e.token, _ = strings.Cut(strings.TrimSpace(first), "=")
	return e.openDatabase(ctx)
}

func (e *environment) openDatabase(ctx context.Context) error {
	url, err := e.secret(ctx, "graf-postgres", "GRAF_DATABASE_URL")
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return errors.New("GRAF_DATABASE_URL in Secret graf-postgres is no database URL") // and not shown
	}
	config.ConnConfig.DialFunc = e.cluster.dialer()
	config.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	e.database, err = pgxpool.NewWithConfig(ctx, config)
	return err
}

// secret reads what the functions are given.
func (e *environment) secret(ctx context.Context, name, key string) (string, error) {
	o, err := e.cluster.Resource(secrets).Namespace(graf).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	encoded, _, _ := unstructured.NestedString(o.Object, "data", key)
	value, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(value) == 0 {
		return "", fmt.Errorf("Secret %s has no %s", name, key) //nolint:staticcheck // the kind's name
	}
	return string(value), nil
}

// functionURL waits until a function is ready.
func (e *environment) functionURL(ctx context.Context, namespace, name string) (string, error) {
	o, err := e.awaitReady(ctx, functions, namespace, name)
	if err != nil {
		return "", err
	}
	url, _, err := unstructured.NestedString(o.Object, "status", "url")
	return url, err
}

// close removes what was brought along.
func (e *environment) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if e.database != nil {
		e.database.Close()
	}
	e.http.CloseIdleConnections()
	return e.removeTrivial(ctx)
}
