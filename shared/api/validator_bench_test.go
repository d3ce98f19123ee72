package api_test

import (
	"strings"
	"testing"

	"github.com/graf-run/graf/shared/api"
)

func BenchmarkNewValidator(b *testing.B) {
	for b.Loop() {
		if _, err := api.NewValidator(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBody(b *testing.B) {
	bodies := map[string]string{
		"430B": `{"prompt":"Raise the replicas of the broker ingress to three, it loses requests in a rollout.","targetResources":[{"apiVersion":"apps/v1","kind":"Deployment","namespace":"knative-eventing","name":"mt-broker-ingress"}],"agent":{"kind":"command","command":["/usr/local/bin/codex-agent"],"env":{"A":"b"}},"priority":5,"timeoutSeconds":600,"maxAttempts":2,"tags":["eventing","availability"],"idempotencyKey":"change-4711","metadata":{"a":1}}`,
		"60KB": `{"prompt":"` + strings.Repeat("x", 60000) + `",` + agent + `}`,
	}
	for name, body := range bodies {
		b.Run(name, func(b *testing.B) {
			v := setup(b)
			b.ReportAllocs()
			for b.Loop() {
				var into api.TaskSubmission
				if err := v.DecodeBody(post(b, "application/json", body), "submitTask", api.MaxSubmissionBytes, &into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
