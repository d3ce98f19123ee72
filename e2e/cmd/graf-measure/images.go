package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const megabyte = 1e6

// measureImages asks the nodes how large the images are that the functions use,
// and waits where they have not told yet.
func measureImages(ctx context.Context, e *environment) error {
	used := []coldFunction{{own, trivial}}
	for _, name := range functionNames {
		used = append(used, coldFunction{graf, "graf-" + name})
	}
	images := make([]string, len(used))
	for i, f := range used {
		var err error
		if images[i], err = e.imageOf(ctx, f); err != nil {
			return err
		}
	}
	var sizes map[string]float64
	err := e.observe(ctx, fmt.Sprintf("a node tells the sizes of all of %v (or is nodeStatusMaxImages of the kubelet too small?)", images),
		nodes, "", metav1.ListOptions{}, func(known map[string]*unstructured.Unstructured) bool {
			sizes = imageSizes(known)
			for _, image := range images {
				if _, told := sizes[image]; !told {
					return false
				}
			}
			return true
		})
	if err != nil {
		return err
	}
	for i, f := range used {
		e.report.add("image of "+f.name, "MB", sizes[images[i]]/megabyte, &target{atMost: 45})
	}
	return nil
}

// imageOf is the name of the image that a function uses.
func (e *environment) imageOf(ctx context.Context, f coldFunction) (string, error) {
	o, err := e.awaitReady(ctx, functions, f.namespace, f.name)
	if err != nil {
		return "", err
	}
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return "", fmt.Errorf("function %s has no container", f.name)
	}
	container, ok := containers[0].(object)
	if !ok {
		return "", fmt.Errorf("function %s has no container", f.name)
	}
	return fmt.Sprint(container["image"]), nil
}

// imageSizes are the bytes of all images on the nodes, by each of their names.
func imageSizes(nodes map[string]*unstructured.Unstructured) map[string]float64 {
	sizes := map[string]float64{}
	for _, node := range nodes {
		images, _, _ := unstructured.NestedSlice(node.Object, "status", "images")
		for _, i := range images {
			image, ok := i.(object)
			if !ok {
				continue
			}
			bytes, _, _ := unstructured.NestedInt64(image, "sizeBytes")
			names, _, _ := unstructured.NestedStringSlice(image, "names")
			for _, name := range names {
				sizes[name] = float64(bytes)
			}
		}
	}
	return sizes
}
