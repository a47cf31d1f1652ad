// The official clients for JavaScript, unchanged, against the local Azure: every line below is what production code says.
import assert from "node:assert/strict";
import { BatchManagementClient } from "@azure/arm-batch";
import { ComputeManagementClient } from "@azure/arm-compute";
import { NetworkManagementClient } from "@azure/arm-network";
import { ResourceManagementClient } from "@azure/arm-resources";
import { StorageManagementClient } from "@azure/arm-storage";
import { ClientSecretCredential } from "@azure/identity";

const { ARM_ENDPOINT, AZURE_AUTHORITY_HOST, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_SUBSCRIPTION_ID, AZURE_TENANT_ID } =
  process.env;
const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, {
  authorityHost: AZURE_AUTHORITY_HOST,
  disableInstanceDiscovery: true,
});
const options = { endpoint: ARM_ENDPOINT, credentialScopes: [`${ARM_ENDPOINT}/.default`] };
const make = (Client) => new Client(credential, AZURE_SUBSCRIPTION_ID, options);
const collect = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const quick = { updateIntervalInMs: 50 };
const [group, location] = ["js", "westeurope"];

const resources = make(ResourceManagementClient);
await resources.resourceGroups.createOrUpdate(group, { location });
assert.equal((await resources.resourceGroups.checkExistence(group)).body, true);

const network = make(NetworkManagementClient);
const net = await network.virtualNetworks.beginCreateOrUpdateAndWait(
  group,
  "net",
  { location, addressSpace: { addressPrefixes: ["10.0.0.0/16"] }, subnets: [{ name: "nodes", addressPrefix: "10.0.0.0/24" }] },
  quick,
);
assert.equal(net.subnets[0].provisioningState, "Succeeded");

const storage = make(StorageManagementClient);
const account = await storage.storageAccounts.beginCreateAndWait(
  group,
  "jsstore",
  { location, kind: "StorageV2", sku: { name: "Standard_LRS" } },
  quick,
);
assert.ok(account.primaryEndpoints.blob.startsWith("https://"));
assert.equal((await storage.storageAccounts.listKeys(group, "jsstore")).keys.length, 2);

const batch = make(BatchManagementClient);
const batchAccount = await batch.batchAccountOperations.beginCreateAndWait(
  group,
  "jsbatch",
  { location, autoStorage: { storageAccountId: account.id } },
  quick,
);
assert.equal(batchAccount.provisioningState, "Succeeded");
await assert.rejects(
  batch.batchAccountOperations.beginCreateAndWait(group, "Wrong", { location }, quick),
  (error) => error.statusCode === 400,
);

const compute = make(ComputeManagementClient);
const sets = compute.virtualMachineScaleSets;
const instances = compute.virtualMachineScaleSetVMs;
const configuration = {
  name: "nic",
  primary: true,
  ipConfigurations: [{ name: "ip", subnet: { id: net.subnets[0].id } }],
};
const set = await sets.beginCreateOrUpdateAndWait(
  group,
  "jsset",
  {
    location,
    sku: { name: "Standard_D2s_v5", tier: "Standard", capacity: 2 },
    orchestrationMode: "Uniform",
    overprovision: false,
    upgradePolicy: { mode: "Manual" },
    virtualMachineProfile: {
      osProfile: {
        computerNamePrefix: "node",
        adminUsername: "azureuser",
        linuxConfiguration: {
          disablePasswordAuthentication: true,
          ssh: { publicKeys: [{ path: "/home/azureuser/.ssh/authorized_keys", keyData: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x" }] },
        },
      },
      storageProfile: {
        imageReference: { publisher: "Canonical", offer: "ubuntu-24_04-lts", sku: "server", version: "latest" },
      },
      networkProfile: { networkInterfaceConfigurations: [configuration] },
    },
  },
  quick,
);
assert.equal(set.provisioningState, "Succeeded");
assert.equal((await collect(instances.list(group, "jsset"))).length, 2);
await sets.beginUpdateAndWait(group, "jsset", { sku: { name: "Standard_D2s_v5", capacity: 3 } }, quick);
const view = await instances.getInstanceView(group, "jsset", "2");
assert.ok(view.statuses.some((status) => status.code === "PowerState/running"));
await instances.beginDeallocateAndWait(group, "jsset", "2", quick);
await sets.beginDeleteInstancesAndWait(group, "jsset", { instanceIds: ["2"] }, quick);
assert.equal((await sets.get(group, "jsset")).sku.capacity, 2);
await assert.rejects(network.subnets.beginDeleteAndWait(group, "net", "nodes", quick), {
  code: "InUseSubnetCannotBeDeleted",
});

await resources.resourceGroups.beginDeleteAndWait(group, quick);
const left = (await collect(resources.resources.list())).filter((found) => found.id.includes(`/resourceGroups/${group}/`));
assert.deepEqual(left, []);
console.log("done");
