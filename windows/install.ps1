#Requires -RunAsAdministrator
<#
.SYNOPSIS
Installs the dmaproof driver from the folder that this script is in, on a test machine.
.DESCRIPTION
Trusts the package's test certificate, adds the package to the driver store and installs it on the
test devices that are there. remove.ps1 takes all of it back. docs: windows.md.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$inf = Join-Path $PSScriptRoot 'dmaproof.inf'
$certificate = Join-Path $PSScriptRoot 'WDRLocalTestCert.cer'
foreach ($file in $inf, $certificate) {
    if (-not (Test-Path -LiteralPath $file)) { throw "$file is missing; copy the whole package." }
}

$build = [Environment]::OSVersion.Version.Build
if ($build -lt 20348) {
    throw "Windows build $build has no KMDF 1.33. Windows 11 21H2 or Server 2022 is needed."
}
$options = (Get-ItemProperty 'HKLM:\SYSTEM\CurrentControlSet\Control').SystemStartOptions
if ($options -notmatch '\bTESTSIGNING\b') {
    throw 'Test signing is off. Turn Secure Boot off, run "bcdedit /set testsigning on", restart.'
}

foreach ($store in 'Root', 'TrustedPublisher') {
    Import-Certificate -FilePath $certificate -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
}

& pnputil.exe /add-driver $inf /install
switch ($LASTEXITCODE) {
    0 { }
    259 { Write-Warning 'The package is in the driver store, but no device took it: none is there, or it has this driver already.' }
    { $_ -in 3010, 1641 } { Write-Warning 'Restart the machine to finish the installation.' }
    default { throw "pnputil failed with $LASTEXITCODE; see C:\Windows\INF\setupapi.dev.log." }
}

Get-PnpDevice -PresentOnly |
    Where-Object { $_.InstanceId -match '^(PCI\\VEN_1234&DEV_(11E8|DA7A)|ACPI\\DMPF0001)' } |
    Format-Table -AutoSize -Property @('Status', 'Problem', 'FriendlyName', 'InstanceId')
exit 0
