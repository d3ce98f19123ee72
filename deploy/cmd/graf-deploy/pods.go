package main

import (
	"context"
	"fmt"
	"strings"
)

// Reasons of a container that will not start by waiting longer, and their mends.
var waitingMends = map[string]string{
	"ImagePullBackOff":           "the node cannot pull the image: check GRAF_IMAGE_REGISTRY, that the cluster may pull from it (imagePullSecrets of the service account), and that the image is there",
	"ErrImagePull":               "the node cannot pull the image: check GRAF_IMAGE_REGISTRY, that the cluster may pull from it (imagePullSecrets of the service account), and that the image is there",
	"ErrImageNeverPull":          "the image is not on the node: run make deploy again, which loads it",
	"InvalidImageName":           "the image's name is malformed: check GRAF_IMAGE_REGISTRY",
	"CreateContainerConfigError": "a ConfigMap or Secret, or a key of it, is missing: see deploy/README.md",
	"CrashLoopBackOff":           "it ends at once: its log says why",
}

// cannotStart looks for pods that wait for what will not come.
func (d *deployment) cannotStart(ctx context.Context, selector string) error {
	pods, err := d.cluster.list(ctx, "pods", "--selector", selector)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if status, reason, message := condition(pod, "PodScheduled"); status == "False" && reason == "Unschedulable" {
			return fmt.Errorf("pod %s finds no node: %s", pod.Name(), message)
		}
		containers, _ := pod.At("status", "containerStatuses").([]any)
		for _, c := range containers {
			fields, _ := c.(map[string]any)
			waiting, _ := fields["state"].(map[string]any)["waiting"].(map[string]any)
			reason, _ := waiting["reason"].(string)
			mend, stuck := waitingMends[reason]
			message, _ := waiting["message"].(string)
			// The kubelet says so, too, of a Secret that it has yet to read.
			if !stuck || strings.Contains(message, "failed to sync") {
				continue
			}
			said := ""
			if reason == "CrashLoopBackOff" {
				log, _ := d.cluster.kubectl(ctx, nil, "logs", "--namespace", namespace, pod.Name(), "--container", fields["name"].(string), "--previous", "--tail=10") //nolint:errcheck,forcetypeassert // a container has a name; its log may be gone
				said = "\n" + indent(string(log))
			}
			return fmt.Errorf("pod %s does not start: %s: %s\n  image %v%s\n%s", pod.Name(), reason, message, fields["image"], said, mend)
		}
	}
	return nil
}
