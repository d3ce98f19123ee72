package kubernetes_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/graf-run/graf/local/kubernetes"
	"github.com/graf-run/graf/shared/kube"
	"github.com/graf-run/graf/shared/kube/conformance"
)

// BenchmarkJob measures a Job that does nothing, from the call of Launch to the notification of its end, beside
// a bare process that does the same.
func BenchmarkJob(b *testing.B) {
	b.Run("bare process", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	target, client, ended := benchmarkCluster(b)
	b.Run("one at a time", func(b *testing.B) {
		for b.Loop() {
			launchNoop(b, target, client)
			<-ended
		}
	})
	b.Run("16 clients", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				launchNoop(b, target, client)
				<-ended
			}
		})
	})
}

func benchmarkCluster(b *testing.B) (conformance.Target, *kube.Client, <-chan struct{}) {
	b.Helper()
	ended := make(chan struct{}, 1000)
	cluster, err := kubernetes.Start(options(b.TempDir(),
		func(_ context.Context, verb string, _ *unstructured.Unstructured) error {
			if verb == kubernetes.VerbUpdate {
				ended <- struct{}{}
			}
			return nil
		}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cluster.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	target := targetOf(cluster)
	client, err := kube.NewForConfig(target.Config)
	if err != nil {
		b.Fatal(err)
	}
	return target, client, ended
}

func launchNoop(b *testing.B, target conformance.Target, client *kube.Client) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	spec := target.Spec("")
	spec.Command = []string{"true"}
	if _, err := client.Launch(ctx, spec); err != nil {
		b.Error(err)
	}
}
