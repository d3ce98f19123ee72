package platform

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/eventing"
	"github.com/graf-run/graf/local/broker"
	"github.com/graf-run/graf/local/knative"
	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/local/source"
)

// apiHost is the address that Kubernetes has inside a cluster; the source
// attribute of its events names it.
const apiHost = "https://kubernetes.default.svc"

// startEventing starts what the files in eventing/ describe: the Broker with its
// Triggers, the Kubernetes API whose Jobs the ApiServerSource watches, and the
// ticks.
func (p *Platform) startEventing(ctx context.Context) error {
	if err := p.placeFunctions(); err != nil {
		return err
	}
	objects, err := knative.Load(eventing.Manifests) //nolint:contextcheck // reads and validates what is in memory
	if err != nil {
		return err
	}
	if p.config.TemporalAddress != "" {
		workers, err := knative.Load(eventing.Temporal()) //nolint:contextcheck // likewise
		if err != nil {
			return err
		}
		objects.Triggers = append(objects.Triggers, workers.Triggers...)
	}
	resolver := p.resolver()
	if err := p.startBroker(objects, resolver); err != nil { //nolint:contextcheck // the Broker outlives the start
		return err
	}
	if err := p.startCluster(ctx, objects, resolver); err != nil {
		return err
	}
	return p.startTicks(objects, resolver) //nolint:contextcheck // the ticks outlive the start
}

func (p *Platform) resolver() knative.Resolver {
	r := knative.Resolver{Services: map[string]string{}, BrokerURL: "http://" + p.ingress.Addr().String()}
	for name, function := range p.functions {
		r.Services["graf-"+name] = function.url()
	}
	return r
}

func (p *Platform) startBroker(objects *knative.Objects, resolver knative.Resolver) error {
	b, err := broker.New(broker.Config{
		Brokers: objects.Brokers, Triggers: objects.Triggers, Resolver: resolver,
		Path: p.config.folder("broker.db"), Logger: p.log,
	})
	if err != nil {
		return err
	}
	p.broker = b
	b.Start()
	p.onStop("Broker", b.Stop)
	p.serve("Broker ingress", p.ingress, b)
	return nil
}

func (p *Platform) startCluster(_ context.Context, objects *knative.Objects, resolver knative.Resolver) error {
	watchers := make([]*source.APIServer, len(objects.APIServerSources))
	for i, spec := range objects.APIServerSources {
		watcher, err := source.NewAPIServer(spec, resolver, apiHost, p.log) //nolint:contextcheck // validates what is in memory
		if err != nil {
			return err
		}
		watchers[i] = watcher
	}
	cluster, err := kubernetes.Start(kubernetes.Options{ //nolint:contextcheck // the cluster outlives the start
		DataDir: p.config.folder("kubernetes"), Listen: fmt.Sprintf("127.0.0.1:%d", p.config.KubernetesPort),
		Namespaces: []string{Namespace}, Path: p.programPath(), Logger: p.log,
		Secrets: p.agentSecrets(),
		Notify: func(ctx context.Context, verb string, job *unstructured.Unstructured) error {
			for _, watcher := range watchers {
				if err := watcher.Changed(ctx, verb, job); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("%w; choose another port with GRAF_KUBERNETES_PORT", err)
	}
	p.cluster = cluster
	p.onStop("Kubernetes API", cluster.Close)
	return cluster.WriteKubeconfig(p.config.folder("kubeconfig"))
}

func (p *Platform) startTicks(objects *knative.Objects, resolver knative.Resolver) error {
	ticks, err := source.NewPing(objects.PingSources, resolver, source.PingOptions{Every: p.config.Tick, Logger: p.log})
	if err != nil {
		return err
	}
	p.ticks = ticks
	ticks.Start()
	p.onStop("ticks", ticks.Stop)
	return nil
}
