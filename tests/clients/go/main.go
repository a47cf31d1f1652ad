// The official clients for Go, unchanged, against the local Azure.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
)

const (
	group    = "go"
	location = "westeurope"
)

var (
	ctx  = context.Background()
	soon = &runtime.PollUntilDoneOptions{Frequency: time.Second}
)

// must ends the program when something that should work does not.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatalf("%T: %v", value, err)
	}
	return value
}

// done waits for the end of an operation.
func done[T any](poller *runtime.Poller[T], err error) T {
	return must(must(poller, err).PollUntilDone(ctx, soon))
}

// refused ends the program unless the service refused with this code.
func refused(code string, err error) {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.ErrorCode != code {
		log.Fatalf("not refused with %s: %v", code, err)
	}
}

func equal[T comparable](got, wanted T) {
	if got != wanted {
		log.Fatalf("got %v, wanted %v", got, wanted)
	}
}

func main() {
	endpoint, subscription := os.Getenv("ARM_ENDPOINT"), os.Getenv("AZURE_SUBSCRIPTION_ID")
	services := map[cloud.ServiceName]cloud.ServiceConfiguration{
		cloud.ResourceManager: {Endpoint: endpoint, Audience: endpoint},
	}
	local := azcore.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: os.Getenv("AZURE_AUTHORITY_HOST"), Services: services},
	}
	credential := must(azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{
		ClientOptions: local, DisableInstanceDiscovery: true,
	}))
	options := &arm.ClientOptions{ClientOptions: local}

	groups := must(armresources.NewResourceGroupsClient(subscription, credential, options))
	must(groups.CreateOrUpdate(ctx, group, armresources.ResourceGroup{Location: to.Ptr(location)}, nil))
	equal(must(groups.CheckExistence(ctx, group, nil)).Success, true)

	identities := must(armmsi.NewUserAssignedIdentitiesClient(subscription, credential, options))
	identity := must(identities.CreateOrUpdate(ctx, group, "worker", armmsi.Identity{Location: to.Ptr(location)}, nil))

	networks := must(armnetwork.NewVirtualNetworksClient(subscription, credential, options))
	network := done(networks.BeginCreateOrUpdate(ctx, group, "net", armnetwork.VirtualNetwork{
		Location: to.Ptr(location),
		Properties: &armnetwork.VirtualNetworkPropertiesFormat{
			AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr("10.0.0.0/16")}},
			Subnets: []*armnetwork.Subnet{{
				Name:       to.Ptr("nodes"),
				Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.0.0.0/24")},
			}},
		},
	}, nil))
	subnet := network.Properties.Subnets[0]

	accounts := must(armstorage.NewAccountsClient(subscription, credential, options))
	account := done(accounts.BeginCreate(ctx, group, "gostore", armstorage.AccountCreateParameters{
		Location: to.Ptr(location),
		Kind:     to.Ptr(armstorage.KindStorageV2),
		SKU:      &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
	}, nil))
	equal(strings.HasPrefix(*account.Properties.PrimaryEndpoints.Blob, "https://"), true)
	equal(len(must(accounts.ListKeys(ctx, group, "gostore", nil)).Keys), 2)

	sets := must(armcompute.NewVirtualMachineScaleSetsClient(subscription, credential, options))
	instances := must(armcompute.NewVirtualMachineScaleSetVMsClient(subscription, credential, options))
	configuration := &armcompute.VirtualMachineScaleSetNetworkConfiguration{
		Name: to.Ptr("nic"),
		Properties: &armcompute.VirtualMachineScaleSetNetworkConfigurationProperties{
			Primary: to.Ptr(true),
			IPConfigurations: []*armcompute.VirtualMachineScaleSetIPConfiguration{{
				Name: to.Ptr("ip"),
				Properties: &armcompute.VirtualMachineScaleSetIPConfigurationProperties{
					Subnet: &armcompute.APIEntityReference{ID: subnet.ID},
				},
			}},
		},
	}
	key := &armcompute.SSHPublicKey{
		Path:    to.Ptr("/home/azureuser/.ssh/authorized_keys"),
		KeyData: to.Ptr("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x"),
	}
	set := done(sets.BeginCreateOrUpdate(ctx, group, "goset", armcompute.VirtualMachineScaleSet{
		Location: to.Ptr(location),
		SKU:      &armcompute.SKU{Name: to.Ptr("Standard_D2s_v5"), Tier: to.Ptr("Standard"), Capacity: to.Ptr[int64](2)},
		Identity: &armcompute.VirtualMachineScaleSetIdentity{
			Type:                   to.Ptr(armcompute.ResourceIdentityTypeUserAssigned),
			UserAssignedIdentities: map[string]*armcompute.UserAssignedIdentitiesValue{*identity.ID: {}},
		},
		Properties: &armcompute.VirtualMachineScaleSetProperties{
			OrchestrationMode: to.Ptr(armcompute.OrchestrationModeUniform),
			Overprovision:     to.Ptr(false),
			UpgradePolicy:     &armcompute.UpgradePolicy{Mode: to.Ptr(armcompute.UpgradeModeManual)},
			VirtualMachineProfile: &armcompute.VirtualMachineScaleSetVMProfile{
				OSProfile: &armcompute.VirtualMachineScaleSetOSProfile{
					ComputerNamePrefix: to.Ptr("node"),
					AdminUsername:      to.Ptr("azureuser"),
					LinuxConfiguration: &armcompute.LinuxConfiguration{
						DisablePasswordAuthentication: to.Ptr(true),
						SSH:                           &armcompute.SSHConfiguration{PublicKeys: []*armcompute.SSHPublicKey{key}},
					},
				},
				StorageProfile: &armcompute.VirtualMachineScaleSetStorageProfile{
					ImageReference: &armcompute.ImageReference{
						Publisher: to.Ptr("Canonical"), Offer: to.Ptr("ubuntu-24_04-lts"),
						SKU: to.Ptr("server"), Version: to.Ptr("latest"),
					},
				},
				NetworkProfile: &armcompute.VirtualMachineScaleSetNetworkProfile{
					NetworkInterfaceConfigurations: []*armcompute.VirtualMachineScaleSetNetworkConfiguration{configuration},
				},
			},
		},
	}, nil))
	equal(*set.Properties.ProvisioningState, "Succeeded")

	found := 0
	for pages := instances.NewListPager(group, "goset", nil); pages.More(); {
		found += len(must(pages.NextPage(ctx)).Value)
	}
	equal(found, 2)
	grown := armcompute.VirtualMachineScaleSetUpdate{SKU: &armcompute.SKU{Capacity: to.Ptr[int64](3)}}
	done(sets.BeginUpdate(ctx, group, "goset", grown, nil))
	must(instances.GetInstanceView(ctx, group, "goset", "2", nil))
	done(instances.BeginDeallocate(ctx, group, "goset", "2", nil))
	wanted := armcompute.VirtualMachineScaleSetVMInstanceRequiredIDs{InstanceIDs: []*string{to.Ptr("2")}}
	done(sets.BeginDeleteInstances(ctx, group, "goset", wanted, nil))
	equal(*must(sets.Get(ctx, group, "goset", nil)).SKU.Capacity, 2)

	subnets := must(armnetwork.NewSubnetsClient(subscription, credential, options))
	_, err := subnets.BeginDelete(ctx, group, "net", "nodes", nil)
	refused("InUseSubnetCannotBeDeleted", err)

	done(groups.BeginDelete(ctx, group, nil))
	equal(must(groups.CheckExistence(ctx, group, nil)).Success, false)
	log.Print("done")
}
